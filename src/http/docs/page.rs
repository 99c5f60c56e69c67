//! The document as a page of HTML: no script, nothing from elsewhere, an anchor for everything.

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::http::openapi::example;

/// Renders the document.
pub(super) fn render(document: &Value, style: &str) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut page, document, style);
    page
}

fn write(page: &mut String, document: &Value, style: &str) -> fmt::Result {
    let (title, version) = (Text(&document["info"]["title"]), Text(&document["info"]["version"]));
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} {version}\
         </title><meta name=\"viewport\" content=\"width=device-width\"><style>{style}</style>\
         </head><body><h1>{title} {version}</h1>"
    )?;
    prose(page, &document["info"]["description"])?;
    page.push_str(
        "<p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>. The lines below \
         take the node from a shell's <code>$NODE</code> and the token from \
         <code>$TOKEN</code>:</p>\
         <pre>NODE=http://127.0.0.1:3001\nTOKEN=$(bizra token)</pre>",
    );
    contents(page, document)?;
    for tag in list(&document["tags"]) {
        write!(page, "<h2 id=\"tag-{0}\">{0}</h2>", Text(&tag["name"]))?;
        prose(page, &tag["description"])?;
        for (path, method, operation) in operations(document, &tag["name"]) {
            self::operation(page, document, path, method, operation)?;
        }
    }
    page.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        write!(page, "<h3 id=\"schema-{0}\">{0}</h3>", Escaped(name))?;
        self::schema(page, schema)?;
    }
    page.push_str("</body></html>");
    Ok(())
}

fn contents(page: &mut String, document: &Value) -> fmt::Result {
    page.push_str("<nav><ul>");
    for tag in list(&document["tags"]) {
        for (path, method, operation) in operations(document, &tag["name"]) {
            write!(
                page,
                "<li><a href=\"#{}\"><code>{} {}</code></a></li>",
                Text(&operation["operationId"]),
                Escaped(&method.to_uppercase()),
                Escaped(path)
            )?;
        }
    }
    page.push_str("<li><a href=\"#schemas\">Schemas</a></li></ul></nav>");
    Ok(())
}

fn operation(
    page: &mut String,
    document: &Value,
    path: &str,
    method: &str,
    operation: &Value,
) -> fmt::Result {
    write!(
        page,
        "<section id=\"{id}\"><h3><code class=\"method\">{method}</code> <code>{path}</code> \
         <a href=\"#{id}\" title=\"link\">#</a></h3><p><b>{}</b> <span class=\"note\">Class {}: {}.\
         </span></p>",
        Text(&operation["summary"]),
        Text(&operation["x-class"]),
        match operation["x-class"].as_str() {
            Some("open") => "for all",
            Some("privileged") => "needs the token",
            _ => "needs the token, but not from the node's own machine",
        },
        id = Text(&operation["operationId"]),
        method = Escaped(&method.to_uppercase()),
        path = Escaped(path),
    )?;
    prose(page, &operation["description"])?;
    if !list(&operation["parameters"]).is_empty() {
        page.push_str("<h4>Parameters</h4><table>");
        for parameter in list(&operation["parameters"]) {
            let is_required = parameter["required"] == true;
            let place = parameter["in"].as_str().unwrap_or_default();
            row(page, &parameter["name"], place, is_required, parameter, &parameter["schema"])?;
        }
        page.push_str("</table>");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        write!(page, "<h4>Body</h4><p>{}</p>", Kind(body))?;
    }
    write!(page, "<pre>{}</pre>", Escaped(&curl(document, path, method, operation)))?;
    page.push_str("<h4>Answers</h4><table>");
    for (status, response) in entries(&operation["responses"]) {
        let reference = response["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
        let response = reference.and_then(|it| document.pointer(it)).unwrap_or(response);
        write!(page, "<tr><td>{}</td><td>", Escaped(status))?;
        for (content_type, content) in entries(&response["content"]) {
            write!(
                page,
                "<code>{}</code> {}<br>",
                Escaped(content_type),
                Kind(&content["schema"])
            )?;
        }
        write!(page, "</td><td>{}</td></tr>", Text(&response["description"]))?;
    }
    page.push_str("</table></section>");
    Ok(())
}

/// How to call it from a shell.
fn curl(document: &Value, path: &str, method: &str, operation: &Value) -> String {
    let schemas = &document["components"]["schemas"];
    let mut filled = path.to_owned();
    for parameter in list(&operation["parameters"]) {
        if parameter["in"] == "path" {
            let name = parameter["name"].as_str().unwrap_or_default();
            let given = parameter.get("example").cloned();
            let given = given.unwrap_or_else(|| example::of(&parameter["schema"], schemas));
            filled = filled.replace(&format!("{{{name}}}"), given.as_str().unwrap_or_default());
        }
    }
    let verb = if method == "get" { "" } else { "-X POST " };
    let mut line = format!("curl -s {verb}\"$NODE{filled}\"");
    if operation["x-class"] == "privileged" {
        line.push_str(" \\\n  -H \"authorization: Bearer $TOKEN\"");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let body = example::of(body, schemas).to_string().replace('\'', "'\\''");
        line.push_str(" \\\n  -H 'content-type: application/json' \\\n  -d '");
        line.push_str(&body);
        line.push('\'');
    }
    line
}

fn schema(page: &mut String, schema: &Value) -> fmt::Result {
    prose(page, &schema["description"])?;
    let parts = list(&schema["allOf"]);
    for part in parts.iter().filter(|part| part.get("$ref").is_some()) {
        write!(page, "<p>All keys of {}, and:</p>", Kind(part))?;
    }
    let objects = parts.iter().chain([schema]);
    let fields: Vec<_> = objects
        .flat_map(|it| entries(&it["properties"]).map(move |field| (list(&it["required"]), field)))
        .collect();
    if fields.is_empty() && parts.is_empty() {
        write!(page, "<p>{}</p>", Kind(schema))?;
    } else {
        page.push_str("<table>");
        for (required, (name, field)) in fields {
            let is_required = required.iter().any(|it| it == name);
            row(page, &Value::from(name.as_str()), "", is_required, field, field)?;
        }
        page.push_str("</table>");
    }
    for example in list(&schema["examples"]) {
        let text = serde_json::to_string_pretty(example).unwrap_or_default();
        write!(page, "<details><summary>Example</summary><pre>{}</pre></details>", Escaped(&text))?;
    }
    Ok(())
}

/// A parameter or a key of an object.
fn row(
    page: &mut String,
    name: &Value,
    place: &str,
    is_required: bool,
    described: &Value,
    schema: &Value,
) -> fmt::Result {
    let required = if is_required { "required" } else { "" };
    write!(
        page,
        "<tr><td><code>{}</code></td><td>{} <span class=\"note\">{place} {required}</span></td>\
         <td>{}</td></tr>",
        Text(name),
        Kind(schema),
        Text(&described["description"])
    )
}

/// Paragraphs, of which each may begin with bold words, as the document's own text does.
fn prose(page: &mut String, text: &Value) -> fmt::Result {
    for paragraph in text.as_str().unwrap_or_default().split("\n\n") {
        let paragraph = paragraph.trim();
        match paragraph.strip_prefix("**").and_then(|rest| rest.split_once("**")) {
            Some((bold, rest)) => write!(page, "<p><b>{}</b>{}</p>", Escaped(bold), Marked(rest))?,
            None if paragraph.is_empty() => {}
            None => write!(page, "<p>{}</p>", Marked(paragraph))?,
        }
    }
    Ok(())
}

fn operations<'a>(
    document: &'a Value,
    tag: &'a Value,
) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    let all = entries(&document["paths"]).flat_map(|(path, item)| {
        entries(item).map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.filter(move |(.., operation)| operation["tags"][0] == *tag)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What a schema takes, in a few words.
struct Kind<'a>(&'a Value);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return write!(f, "<a href=\"#schema-{0}\">{0}</a>", Escaped(name));
        }
        let choices = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
        if let Some(choices) = choices.filter(|_| schema.get("properties").is_none()) {
            return self::choices(f, choices);
        }
        let mut names = match &schema["type"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            only => only.as_str().into_iter().collect::<Vec<_>>(),
        };
        if names.is_empty() {
            names.push("any");
        }
        for (index, name) in names.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { " or " }, Escaped(name))?;
        }
        if let Some(items) = schema.get("items") {
            write!(f, " of {}", Kind(items))?;
        }
        if let Some(values @ Value::Object(_)) = schema.get("additionalProperties")
            && schema.get("properties").is_none()
        {
            write!(f, " of {}", Kind(values))?;
        }
        for (keyword, words) in KEYWORDS {
            if let Some(value) = schema.get(keyword) {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Array(values) => {
                        let texts = values.iter().map(Value::to_string);
                        texts.collect::<Vec<_>>().join(", ")
                    }
                    other => other.to_string(),
                };
                write!(f, ", {words} <code>{}</code>", Escaped(&text))?;
            }
        }
        Ok(())
    }
}

/// What narrows a type, and how that is said.
const KEYWORDS: [(&str, &str); 13] = [
    ("enum", "one of"),
    ("minimum", "at least"),
    ("exclusiveMinimum", "above"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "below"),
    ("minLength", "characters at least"),
    ("maxLength", "characters at most"),
    ("minItems", "items at least"),
    ("maxItems", "items at most"),
    ("format", "as"),
    ("contentEncoding", "in"),
    ("pattern", "like"),
    ("default", "default"),
];

fn choices(f: &mut fmt::Formatter<'_>, choices: &[Value]) -> fmt::Result {
    for (index, choice) in choices.iter().enumerate() {
        write!(f, "{}{}", if index == 0 { "" } else { " or " }, Kind(choice))?;
    }
    Ok(())
}

/// A text of the document.
struct Text<'a>(&'a Value);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Marked(self.0.as_str().unwrap_or_default()).fmt(f)
    }
}

/// Text in which backticks enclose code.
struct Marked<'a>(&'a str);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split('`').enumerate() {
            match index % 2 {
                0 => Escaped(part).fmt(f)?,
                _ => write!(f, "<code>{}</code>", Escaped(part))?,
            }
        }
        Ok(())
    }
}

/// Text in which nothing is markup.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_text_of_the_document_is_markup() {
        let evil = "</style><script>alert('x')</script>\"";
        let document = json!({
            "info": { "title": evil, "version": evil, "description": evil },
            "tags": [{ "name": evil, "description": evil }],
            "paths": { (evil): { "get": {
                "operationId": evil, "summary": evil, "description": evil, "tags": [evil],
                "x-class": evil,
                "parameters": [{ "name": evil, "in": "path", "schema": { "enum": [evil] } }],
                "requestBody": { "content": { "application/json": { "schema": {
                    "type": evil, "pattern": evil, "example": evil,
                }}}},
                "responses": { (evil): { "description": evil, "content": { (evil): {} } } },
            }}},
            "components": { "schemas": { (evil): {
                "description": evil, "examples": [evil], "properties": { (evil): { "type": evil } },
            }}},
        });
        let page = render(&document, "");
        assert!(!page.contains("<script") && !page.contains("</style><s"), "{page}");
    }

    #[test]
    fn a_line_for_the_shell_is_quoted() {
        let body = json!({ "type": "object", "examples": [{ "text": "it's" }] });
        let operation = json!({
            "x-class": "privileged",
            "requestBody": { "content": { "application/json": { "schema": body } } },
        });
        assert_eq!(
            curl(&json!({}), "/a", "post", &operation),
            "curl -s -X POST \"$NODE/a\" \\\n  -H \"authorization: Bearer $TOKEN\" \\\n  \
             -H 'content-type: application/json' \\\n  -d '{\"text\":\"it'\\''s\"}'"
        );
    }
}

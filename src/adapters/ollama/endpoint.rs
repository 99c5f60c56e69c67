//! Where an Ollama server is, as `OLLAMA_HOST` says it.

use reqwest::Url;

/// The port Ollama listens on by itself.
const PORT: u16 = 11434;

/// Characters of a wrong address that an error repeats.
const ECHO_CHARS_MAX: usize = 128;

/// Why a text is no address of an Ollama server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of an Ollama server: {reason}")]
pub struct EndpointError {
    /// The text, its beginning if it is long.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads `host`, `host:port` or `http://host:port`. An address that means every interface of the
/// server is one on which it cannot be reached, so 0.0.0.0 and [::] become the loopback.
///
/// # Errors
/// When it is none of these, or asks for what this client does not do (HTTPS, a path, a password).
pub fn parse(text: &str) -> Result<Url, EndpointError> {
    let fail = |reason| EndpointError { text: text.chars().take(ECHO_CHARS_MAX).collect(), reason };
    let text = text.trim();
    if text.is_empty() {
        return Err(fail("it is empty"));
    }
    let with_scheme = match text.split_once("://") {
        Some(("http", _)) => text.to_owned(),
        Some(("https", _)) => return Err(fail("https is not supported; use http")),
        Some(_) => return Err(fail("the scheme is not http")),
        None => format!("http://{text}"),
    };
    let mut url = Url::parse(&with_scheme).map_err(|_| fail("give host, host:port or a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fail("user and password are not supported"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(fail("it has a path; give only host and port"));
    }
    if matches!(url.host_str(), Some("0.0.0.0")) {
        url.set_host(Some("127.0.0.1")).map_err(|_| fail("the host is wrong"))?;
    } else if matches!(url.host_str(), Some("[::]")) {
        url.set_host(Some("[::1]")).map_err(|_| fail("the host is wrong"))?;
    }
    // `Url` forgets an explicit port 80 of http, so it is looked for in the text.
    if url.port().is_none() && !has_port(&with_scheme) {
        url.set_port(Some(PORT)).map_err(|()| fail("it has no host"))?;
    }
    if url.port_or_known_default() == Some(0) {
        return Err(fail("port 0 is not a port to connect to"));
    }
    Ok(url)
}

/// Whether `http://host:port` states a port. Brackets of IPv6 hold colons of their own.
fn has_port(url: &str) -> bool {
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let after_host = authority.rsplit(']').next().unwrap_or(authority);
    after_host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_the_variable_is_read() {
        for (text, url) in [
            ("localhost", "http://localhost:11434/"),
            ("localhost:8080", "http://localhost:8080/"),
            (" http://localhost:11434/ ", "http://localhost:11434/"),
            ("http://models.example", "http://models.example:11434/"),
            ("http://models.example:80", "http://models.example/"),
            ("0.0.0.0", "http://127.0.0.1:11434/"),
            ("0.0.0.0:9", "http://127.0.0.1:9/"),
            ("http://0.0.0.0:9", "http://127.0.0.1:9/"),
            ("[::]:9", "http://[::1]:9/"),
            ("[::1]", "http://[::1]:11434/"),
            ("192.168.1.5", "http://192.168.1.5:11434/"),
            ("localhost:", "http://localhost:11434/"),
        ] {
            assert_eq!(parse(text).map(String::from), Ok(url.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("   ", "empty"),
            ("https://localhost", "https"),
            ("ftp://localhost", "scheme"),
            ("unix:///run/ollama.sock", "scheme"),
            ("localhost:99999", "host:port"),
            ("localhost:0", "port 0"),
            ("host name", "host:port"),
            ("http://", "host:port"),
            ("user:secret@localhost", "password"),
            ("localhost/api", "path"),
            ("localhost?x=1", "path"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text: String) {
            if let Ok(url) = parse(&text) {
                prop_assert_eq!(url.scheme(), "http");
                prop_assert!(url.host_str().is_some_and(|host| !host.is_empty()));
                prop_assert_eq!(url.path(), "/");
            }
        }
    }
}

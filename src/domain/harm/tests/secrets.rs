//! Keys, tokens, assigned values.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use super::*;

const HEX: &[u8] = b"0123456789abcdef";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The example of the article that published the checksum; it opens nothing any more.
const GITHUB_BODY: &str = "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17";

fn pem(name: &str, body: &str) -> String {
    format!("-----BEGIN {name}-----\n{body}\n-----END {name}-----\n")
}

#[test]
fn tokens_are_known_by_their_form() {
    for (prefix, body, kind) in [
        ("AKIA", drawn(BASE32, 16, 1), Kind::ApiKey),
        ("ASIA", drawn(BASE32, 16, 2), Kind::ApiKey),
        ("AIza", drawn(ALNUM, 35, 3), Kind::ApiKey),
        ("ghp_", GITHUB_BODY.to_owned(), Kind::Token),
        ("ghs_", GITHUB_BODY.to_owned(), Kind::Token),
        ("ghu_", drawn(ALNUM, 76, 4), Kind::Token),
        ("npm_", GITHUB_BODY.to_owned(), Kind::Token),
        ("github_pat_", drawn(ALNUM, 22, 5) + "_" + &drawn(ALNUM, 59, 6), Kind::Token),
        ("glpat-", drawn(ALNUM, 20, 7), Kind::Token),
        ("pypi-AgEIcHlwaS5vcmc", drawn(ALNUM, 120, 8), Kind::Token),
        ("dckr_pat_", drawn(ALNUM, 27, 9), Kind::Token),
        ("hf_", drawn(ALNUM, 34, 10), Kind::Token),
        ("dop_v1_", drawn(HEX, 64, 11), Kind::Token),
        ("shpat_", drawn(HEX, 32, 12), Kind::Token),
        ("xoxb-", format!("2394817562301-2394817562302-{}", drawn(ALNUM, 24, 13)), Kind::Token),
        ("sk_live_", drawn(ALNUM, 24, 14), Kind::ApiKey),
        ("rk_live_", drawn(ALNUM, 99, 15), Kind::ApiKey),
        ("sk-", drawn(ALNUM, 48, 16), Kind::ApiKey),
        ("sk-proj-", drawn(ALNUM, 120, 17), Kind::ApiKey),
        ("sk-ant-api03-", drawn(ALNUM, 93, 18), Kind::ApiKey),
        ("sk-or-v1-", drawn(HEX, 64, 19), Kind::ApiKey),
        ("GOCSPX-", drawn(ALNUM, 28, 20), Kind::ApiKey),
        ("SG.", drawn(ALNUM, 22, 21) + "." + &drawn(ALNUM, 43, 22), Kind::ApiKey),
        ("AGE-SECRET-KEY-1", drawn(b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58, 23), Kind::PrivateKey),
    ] {
        let token = format!("{prefix}{body}");
        for text in [
            token.clone(),
            format!("use {token}, it works"),
            format!("KEY={token}\n"),
            format!("\"{token}\""),
            format!("\u{5bc6}\u{94a5}{token}\u{3002}"),
            format!("https://api.site.org/?k={token}&x=1"),
        ] {
            assert_found(&text, kind);
        }
        for text in [format!("x{token}"), format!("{token}x9"), format!("_{token}")] {
            // Some forms have any length, and then a longer one is one too.
            let is_open = kind == Kind::Token && text.ends_with("x9") || text.ends_with("x9");
            if !is_open {
                assert!(!harm(&text).findings().iter().any(|f| f.kind == kind), "{text}");
            }
        }
        let filled = format!("{prefix}{}", "x".repeat(body.len()));
        assert_passes(&filled);
        assert_passes(&format!("{prefix}..."));
        assert_passes(prefix);
    }
}

#[test]
fn a_wrong_checksum_opens_nothing() {
    assert_eq!(value(&format!("ghp_{GITHUB_BODY}")), 0.9);
    let (body, _) = GITHUB_BODY.split_at(35);
    let harm = harm(&format!("ghp_{body}8"));
    assert_eq!((harm.value().value(), harm.total()), (0.2, 1));
}

#[test]
fn a_private_key_is_found_by_its_body() {
    let body = drawn(ALNUM, 64, 1);
    for name in [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ] {
        let key = pem(name, &body);
        assert_eq!(value(&key), 1.0, "{name}");
        // As it stands in source text, in JSON, and indented.
        assert_eq!(value(&format!("let k = \"{}\";", key.replace('\n', "\\n"))), 1.0, "{name}");
        assert_eq!(value(&key.replace('\n', "\r\n    ")), 1.0, "{name}");
        assert_clean(&pem(name, "..."));
        assert_clean(&pem(name, "(the key goes here)"));
        assert_clean(&format!("Files begin with -----BEGIN {name}----- and so on."));
    }
    for name in ["PUBLIC KEY", "CERTIFICATE", "RSA PUBLIC KEY", "PGP PUBLIC KEY BLOCK"] {
        assert_clean(&pem(name, &body));
    }
}

#[test]
fn a_passphrase_makes_a_private_key_less_grave() {
    let body = drawn(ALNUM, 64, 2);
    assert_eq!(value(&pem("ENCRYPTED PRIVATE KEY", &body)), 0.5);
    let old = format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}");
    assert_eq!(value(&pem("RSA PRIVATE KEY", &old)), 0.5);
    for (cipher, expected) in [("none", 1.0), ("aes256-ctr", 0.5)] {
        let mut bytes = b"openssh-key-v1\0".to_vec();
        bytes.extend_from_slice(&u32::try_from(cipher.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(cipher.as_bytes());
        bytes.extend(drawn(ALNUM, 60, 3).into_bytes());
        let key = pem("OPENSSH PRIVATE KEY", &BASE64_STANDARD.encode(bytes));
        assert_eq!(value(&key), expected, "{cipher}");
    }
}

#[test]
fn a_web_token_is_found_by_its_header() {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signature = drawn(ALNUM, 43, 4);
    let claims = part("{\"sub\":\"u-77\",\"adm\":true}");
    let header = part("{\"alg\":\"ES256\",\"typ\":\"JWT\"}");
    assert_found(&format!("Authorization: Bearer {header}.{claims}.{signature}"), Kind::Token);
    for (header, claims) in [
        (part("{\"typ\":\"JWT\"}"), claims.clone()),
        (part("{\"alg\":7}"), claims.clone()),
        ("eyJub3QganNvbg".to_owned(), claims.clone()),
        (header.clone(), part("{\"sub\":\"1234567890\",\"name\":\"John Doe\"}")),
        (header.clone(), part("{\"iss\":\"joe\"}")),
    ] {
        assert_passes(&format!("{header}.{claims}.{signature}"));
    }
    assert_passes(&format!("{header}.{claims}."));
    assert_passes(&format!("{header}.{claims}"));
}

#[test]
fn what_the_text_calls_a_secret_and_looks_drawn_is_one() {
    let secret = drawn(ALNUM, 32, 5);
    let hex = drawn(HEX, 40, 6);
    for text in [
        format!("password = \"{secret}\""),
        format!("PASSWORD={secret}"),
        format!("\"api_key\": \"{secret}\","),
        format!("apiKey: '{secret}'"),
        format!("api-key={hex}"),
        format!("X-Auth-Token: {secret}"),
        format!("aws_secret_access_key = {secret}"),
        format!("client_secret => `{hex}`"),
        format!("const dbPassword := \"{secret}\""),
        format!("AccountKey={secret}=="),
        format!("Authorization: Bearer {secret}"),
        format!("postgres://app:{secret}@db.site.org/main"),
    ] {
        let harm = harm(&text);
        assert!(harm.value().value() > VETO, "{text}: {harm:?}");
        assert_eq!(harm.of(Category::Secrets), harm.value());
    }
    assert_found("password: \"Tr0ub4dor&3\"", Kind::Assigned);
}

#[test]
fn published_examples_and_placeholders_are_no_secrets() {
    for text in [
        "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "password = \"hunter2\"",
        "password = \"changeme123!\"",
        "password: \"Password123!\"",
        "token = \"${GITHUB_TOKEN_2}\"",
        "token: \"{{ secrets.TOKEN1 }}\"",
        "api_key = <your key 1>",
        "API_KEY=your_api_key_here_123456",
        "api_key = \"0000000000000000\"",
        "secret: \"xxxxxxxxxxxxxxxxxxxxxx1\"",
        "token = self.next_token2(a1b2c3)",
        "password = os.environ[\"DB_PASSWORD_1\"]",
        "pub token: Option<String>,",
        "password: \"\"",
        "secret = \"the quick brown fox 1 jumps\"",
        "password_hash = \"5f4dcc3b5aa765d61d8327deb882cf99\"",
        "token_count: 4096",
        "\"access_token\":\"2YotnFZFEjr1zCsicMWpAA\"",
        "private_key: ed25519.Ed25519PrivateKey2,",
        "https://user:he%2F%2Fo@pypi.company.org/simple",
        "TypeToken: D3D10_SB_RESOURCE_RETURN_TYPE,",
        "postgres://postgres:postgres1@localhost/db",
        "postgres://user:password1@db.site.org/db",
        "https://site.org:8080/@user1",
        "xoxb-your-token-here",
        "sk-learn and sk-image are packages; a sk-1234567890abcdef1234567890abcdef key is none",
    ] {
        assert_passes(text);
    }
}

#[test]
fn technical_text_is_clean() {
    for text in [
        "The password is hashed with argon2id before the token is stored; see secret.rs.",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "550e8400-e29b-41d4-a716-446655440000",
        "integrity=\"sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC\"",
        "checksum = \"7d5a26814d8dcb93b0e5a0ff3c6d80a8843bafb21b39e8e18a6f05471870e110\"",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVcEZXoqrQ3WzFyGWbDC8Ex0BeTnGmYIbU2ROPEmLXv me",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
        "serde 1.0.219, tokio 1.45.0-rc.1+build.20250101, 2025-01-15T10:30:00.000Z, 10.0.0.1:8080",
        "let key = map.key(); tokens += 1; assert_eq!(secret_len, 32);",
        "0xdeadbeefcafebabe1234567890abcdef",
        "let nanos = 1736937000123456789; let millis = 1736937000123;",
        "x = 0.4532015112830366; y = -4.1111111111111e-5",
    ] {
        assert_clean(text);
    }
}

//! The token that the node asks its callers for: made at the first start, read at the others,
//! replaced when its owner asks for that.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::auth::Token;
use crate::http::error::ApiError;
use crate::http::router;
use crate::token_file::{self, TokenError};

/// Reads the token of this data directory; makes one if there is none.
///
/// # Errors
/// When the file cannot be read or made, is open to others, or holds no token.
pub fn open(data_dir: &Path) -> Result<Token, TokenError> {
    match read(data_dir) {
        Err(error) if error.is_absent() => token_file::make(data_dir).map(Token::new),
        other => other,
    }
}

/// Reads the token of this data directory, as its owner's programs do.
///
/// # Errors
/// When there is none, it cannot be read, is open to others, or is no token.
pub fn read(data_dir: &Path) -> Result<Token, TokenError> {
    token_file::read(data_dir).map(Token::new)
}

/// The new token is on disk and the old one refused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenRotated, examples(json!({ "rotated": true })))]
pub(super) struct Rotated {
    /// True.
    rotated: bool,
}

/// Makes a new token.
///
/// The old one is refused from then on. The new one is not told: whoever owns the node reads it from
/// its file.
#[utoipa::path(post, path = router::TOKEN_ROTATE, responses((status = 200, body = Rotated)))]
pub(super) async fn rotate(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<Rotated>, ApiError> {
    // Also where no token is asked for: who does not know it must not lock out those who do.
    app.auth.require(&headers)?;
    let rotating = tokio::task::spawn_blocking(move || {
        app.auth.replace_token(|| token_file::make(&app.data_dir).map(Token::new))
    });
    let failed = |inner: String| {
        let (status, error) =
            (StatusCode::INTERNAL_SERVER_ERROR, "the token could not be replaced");
        ApiError::new(status, "TOKEN_FAILED", error).because(inner)
    };
    match rotating.await {
        Ok(Ok(())) => Ok(Json(Rotated { rotated: true })),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::token_file::FILE_NAME;

    fn write(dir: &Path, text: &[u8], mode: u32) {
        let path = dir.join(FILE_NAME);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_start_makes_a_token_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let made = open(dir.path()).unwrap();
        assert_eq!(made.expose().len(), 43);
        let metadata = fs::metadata(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(open(dir.path()).unwrap().is(made.expose().as_bytes()));

        let other = tempfile::tempdir().unwrap();
        assert_ne!(open(other.path()).unwrap().expose(), made.expose());
    }

    #[test]
    fn a_half_made_token_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("api-token.new"), b"half").unwrap();
        assert!(open(dir.path()).is_ok());
    }

    #[test]
    fn a_token_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
            let path = dir.path().join(FILE_NAME);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = open(dir.path()).unwrap_err();
            assert!(error.to_string().contains("run: chmod 600 /"), "{mode:o}: {error}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_and_kept() {
        let long = "A".repeat(100_000);
        for text in ["", "\n", "short", "A".repeat(44).as_str(), &long, "caf\u{e9}", "====", "A B"]
        {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), text.as_bytes(), 0o600);
            assert!(matches!(open(dir.path()), Err(TokenError::Malformed { .. })), "{text:.20}");
            assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), text.as_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), b"\xff\xfe", 0o600);
        assert!(matches!(open(dir.path()), Err(TokenError::Malformed { .. })));
    }

    #[test]
    fn a_link_or_a_folder_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "A".repeat(43)).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&elsewhere, dir.path().join(FILE_NAME)).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("is a link, which is not followed"), "{error}");

        fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
        fs::create_dir(dir.path().join(FILE_NAME)).unwrap();
        assert!(open(dir.path()).is_err());
    }
}

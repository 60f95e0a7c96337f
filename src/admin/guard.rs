//! The key to the API.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::EngineHandle;
use crate::config::Secret;

/// The API: with the key only.
pub(super) async fn api(
    State(engine): State<EngineHandle>,
    request: Request,
    next: Next,
) -> Response {
    let (key, _) = engine.admin_access();
    match key {
        None => Problem::no_key().into_response(),
        Some(key) if shows(request.headers(), &key) => next.run(request).await,
        Some(_) => Problem::wrong_key().into_response(),
    }
}

/// Metrics: free on loopback, elsewhere with the key.
pub(super) async fn metrics(
    State(engine): State<EngineHandle>,
    request: Request,
    next: Next,
) -> Response {
    let (key, public) = engine.admin_access();
    match key {
        Some(key) if public && !shows(request.headers(), &key) => {
            Problem::wrong_key().into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether the request shows this key. How long that takes tells its length at most, which is no secret.
fn shows(headers: &HeaderMap, key: &Secret) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, shown)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.ct_eq(key.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_whole_key_opens() {
        let key = Secret::new("0123456789abcdef");
        let shown = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            shows(&headers, &key)
        };
        assert!(shown(&["Bearer 0123456789abcdef"]));
        assert!(
            shown(&["bearer 0123456789abcdef"]),
            "RFC 9110, 11.1: the scheme has no case"
        );
        for values in [
            &[][..],
            &["Bearer "],
            &["Bearer 0123456789abcde"],
            &["Bearer 0123456789abcdef0"],
            &["Bearer 0123456789abcdeF"],
            &["Basic 0123456789abcdef"],
            &["0123456789abcdef"],
            &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
        ] {
            assert!(!shown(values), "{values:?}");
        }
    }
}

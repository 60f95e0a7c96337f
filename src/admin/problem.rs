//! What a caller is told when something is wrong: `{"error":"…"}` with a status that says whose fault it is.

use std::borrow::Cow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use shardwire_shards::vocabulary::NoConnectionId;

use crate::{CloseError, DocumentError, NotifyError, PresenceError, PublishError};

/// A request that was not carried out.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: Cow<'static, str>,
}

impl Problem {
    fn new(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        let error = error.into();
        Self { status, error }
    }

    /// The caller's mistake.
    pub(super) fn bad_request(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path has another method",
        )
    }

    pub(super) fn too_large(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, error)
    }

    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "it took too long")
    }

    /// Nothing happened; it may work a little later.
    pub(super) fn overloaded() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded: nothing was done, try again a little later",
        )
    }

    pub(super) fn no_key() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "there is no HTTP API: admin.key is not set",
        )
    }

    pub(super) fn wrong_key() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Authorization: Bearer KEY is needed, with the key of admin.key",
        )
    }

    /// What is wrong, without the status.
    pub(super) fn error(&self) -> &str {
        &self.error
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.error }));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Overloaded => Self::overloaded(),
            PublishError::TooLarge { .. } => Self::too_large(error.to_string()),
            mistake => Self::bad_request(mistake.to_string()),
        }
    }
}

impl From<PresenceError> for Problem {
    fn from(error: PresenceError) -> Self {
        match error {
            PresenceError::Overloaded => Self::overloaded(),
            PresenceError::TooMuch => Self::too_large(error.to_string()),
            mistake => Self::bad_request(mistake.to_string()),
        }
    }
}

impl From<NotifyError> for Problem {
    fn from(error: NotifyError) -> Self {
        match error {
            NotifyError::Overloaded => Self::overloaded(),
            NotifyError::Disabled => {
                Self::not_found("users have no inboxes: notifications.enabled is false")
            }
            NotifyError::StorageFull | NotifyError::StorageFailed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            NotifyError::TooLarge { .. } => Self::too_large(error.to_string()),
            mistake => Self::bad_request(mistake.to_string()),
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Overloaded => Self::overloaded(),
            DocumentError::Disabled => {
                Self::not_found("there are no documents: collaboration.enabled is false")
            }
            DocumentError::StorageFull | DocumentError::StorageFailed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            mistake => Self::bad_request(mistake.to_string()),
        }
    }
}

impl From<CloseError> for Problem {
    fn from(error: CloseError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<NoConnectionId> for Problem {
    fn from(error: NoConnectionId) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

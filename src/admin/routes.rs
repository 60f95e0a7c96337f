//! Which path means what.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::problem::Problem;
use super::{api, guard, probes};
use crate::EngineHandle;

/// Bytes of a request's body: several thousand publications of usual size.
const BODY_BYTES_MAX: usize = 8 << 20;

pub(super) fn router(engine: EngineHandle) -> Router {
    let api = Router::new()
        .route("/publish", post(api::publish::one))
        .route("/publish/batch", post(api::publish::batch))
        .route("/broadcast", post(api::publish::broadcast))
        .route("/connections", get(api::connections::list))
        .route("/connections/{id}/send", post(api::connections::send))
        .route("/connections/{id}/kick", post(api::connections::kick))
        .route("/users", get(api::users::list))
        .route("/users/{user}", get(api::users::one))
        .route("/users/{user}/send", post(api::users::send))
        .route("/users/{user}/kick", post(api::users::kick))
        .route(
            "/users/{user}/presence",
            get(api::presence::user).post(api::presence::set),
        )
        .route(
            "/users/{user}/notifications",
            get(api::notifications::list).post(api::notifications::send),
        )
        .route(
            "/users/{user}/notifications/mark",
            post(api::notifications::mark),
        )
        .route("/channels", get(api::channels::list))
        .route("/channels/{channel}", get(api::channels::one))
        .route("/channels/{channel}/presence", get(api::presence::channel))
        .route("/documents", get(api::documents::list))
        .route("/documents/{document}", get(api::documents::one))
        .route("/shards", get(api::shards::table))
        .route("/close", post(api::control::close))
        .route("/drain", post(api::control::drain))
        .route_layer(from_fn_with_state(engine.clone(), guard::api));
    let metrics = Router::new()
        .route("/metrics", get(probes::metrics))
        .route_layer(from_fn_with_state(engine.clone(), guard::metrics));
    Router::new()
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .merge(metrics)
        .nest("/v1", api)
        .fallback(async || Problem::not_found("there is no such path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(engine)
}

/// One request through the router, which never fails.
pub(super) async fn call(router: Router, request: Request<Incoming>) -> Response {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

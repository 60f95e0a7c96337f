//! What an embedding service registers.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use shardwire_shards::ApplicationRoutes;
use shardwire_shards::permissions::{Access, AuthorizeHook};
use shardwire_shards::vocabulary::{CallTarget, CloseCause, Command};

use super::authorize::guarded;
use super::{Context, Failure, FailureCause, FromMessage, HandlerError, Message};
use crate::engine::{EngineHandle, Unreached};

/// How a handler ends.
pub(super) type Outcome = Result<(), HandlerError>;
type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// A handler, its types forgotten. The function is shared by all shards; each future stays on one.
type Handler = Arc<dyn Fn(Context, Message) -> Running + Send + Sync>;
type Middleware = Arc<dyn Fn(Context, Message, Next) -> Running + Send + Sync>;
type ConnectHook = Arc<dyn Fn(Context) -> Running + Send + Sync>;
/// A hook that nobody waits for.
pub(super) type Loose = Pin<Box<dyn Future<Output = ()>>>;
type CloseHook = Arc<dyn Fn(Context, CloseCause) -> Loose + Send + Sync>;
type UnreachedHook = Arc<dyn Fn(EngineHandle, Unreached) -> Loose + Send + Sync>;
type ErrorHook = Arc<dyn Fn(Context, Failure) -> Loose + Send + Sync>;

/// What was registered so far.
#[derive(Default)]
pub(crate) struct HandlersBuilder {
    routes: Vec<(String, Handler)>,
    middleware: Vec<Middleware>,
    on_connect: Option<ConnectHook>,
    on_close: Option<CloseHook>,
    on_error: Option<ErrorHook>,
    on_unreached: Option<UnreachedHook>,
    authorize: Option<AuthorizeHook>,
}

/// All that was registered; shared by the shards.
#[derive(Clone)]
pub(crate) struct Handlers {
    routes: Arc<[(String, Handler)]>,
    middleware: Arc<[Middleware]>,
    on_connect: Option<ConnectHook>,
    on_close: Option<CloseHook>,
    on_error: Option<ErrorHook>,
    on_unreached: Option<UnreachedHook>,
    authorize: Option<AuthorizeHook>,
}

impl fmt::Debug for HandlersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.routes.iter().map(|(kind, _)| kind))
            .finish()
    }
}

impl HandlersBuilder {
    pub(crate) fn route<F, M>(&mut self, kind: &str, handler: F)
    where
        F: AsyncFn(Context, M) -> Outcome + Send + Sync + 'static,
        M: FromMessage + 'static,
    {
        let handler = Arc::new(handler);
        let boxed: Handler = Arc::new(move |context, message| {
            let handler = Arc::clone(&handler);
            Box::pin(async move { handler(context, M::from_message(message)?).await })
        });
        // The last registration of a type holds.
        self.routes.retain(|(known, _)| known != kind);
        self.routes.push((kind.to_owned(), boxed));
    }

    pub(crate) fn middleware<F>(&mut self, middleware: F)
    where
        F: AsyncFn(Context, Message, Next) -> Outcome + Send + Sync + 'static,
    {
        let middleware = Arc::new(middleware);
        self.middleware
            .push(Arc::new(move |context, message, next| {
                let middleware = Arc::clone(&middleware);
                Box::pin(async move { middleware(context, message, next).await })
            }));
    }

    pub(crate) fn on_connect<F>(&mut self, hook: F)
    where
        F: AsyncFn(Context) -> Outcome + Send + Sync + 'static,
    {
        let hook = Arc::new(hook);
        self.on_connect = Some(Arc::new(move |context| {
            let hook = Arc::clone(&hook);
            Box::pin(async move { hook(context).await })
        }));
    }

    pub(crate) fn on_close<F>(&mut self, hook: F)
    where
        F: AsyncFn(Context, CloseCause) + Send + Sync + 'static,
    {
        let hook = Arc::new(hook);
        self.on_close = Some(Arc::new(move |context, cause| {
            let hook = Arc::clone(&hook);
            Box::pin(async move { hook(context, cause).await })
        }));
    }

    pub(crate) fn on_error<F>(&mut self, hook: F)
    where
        F: AsyncFn(Context, Failure) + Send + Sync + 'static,
    {
        let hook = Arc::new(hook);
        self.on_error = Some(Arc::new(move |context, failure| {
            let hook = Arc::clone(&hook);
            Box::pin(async move { hook(context, failure).await })
        }));
    }

    pub(crate) fn on_unreached<F>(&mut self, hook: F)
    where
        F: AsyncFn(EngineHandle, Unreached) + Send + Sync + 'static,
    {
        let hook = Arc::new(hook);
        self.on_unreached = Some(Arc::new(move |engine, unreached| {
            let hook = Arc::clone(&hook);
            Box::pin(async move { hook(engine, unreached).await })
        }));
    }

    pub(crate) fn authorize(
        &mut self,
        check: impl Fn(&Access<'_>) -> bool + Send + Sync + 'static,
    ) {
        self.authorize = Some(guarded(check));
    }

    pub(crate) fn build(self) -> Handlers {
        debug_assert_eq!(
            self.routes
                .iter()
                .map(|(kind, _)| kind)
                .collect::<HashSet<_>>()
                .len(),
            self.routes.len()
        );
        Handlers {
            routes: self.routes.into(),
            middleware: self.middleware.into(),
            on_connect: self.on_connect,
            on_close: self.on_close,
            on_error: self.on_error,
            on_unreached: self.on_unreached,
            authorize: self.authorize,
        }
    }
}

impl Handlers {
    /// What the shards have to know of it.
    pub(crate) fn application_routes(&self) -> ApplicationRoutes {
        ApplicationRoutes {
            types: self.routes.iter().map(|(kind, _)| kind.clone()).collect(),
            on_connect: self.on_connect.is_some(),
            every_message: !self.middleware.is_empty(),
            authorize: self.authorize.clone(),
        }
    }

    /// Whether the end of a connection interests anybody.
    pub(crate) fn wants_close(&self) -> bool {
        self.on_close.is_some()
    }

    pub(super) fn call(&self, target: CallTarget, context: Context, message: Message) -> Running {
        match target {
            CallTarget::Connect => match &self.on_connect {
                Some(hook) => hook(context),
                None => Box::pin(std::future::ready(Ok(()))),
            },
            CallTarget::Route(_) | CallTarget::Other => {
                let next = Next {
                    handlers: self.clone(),
                    target,
                    at: 0,
                };
                Box::pin(next.run(context, message))
            }
        }
    }

    pub(super) fn closed(&self, context: Context, cause: CloseCause) -> Option<Loose> {
        self.on_close.as_ref().map(|hook| hook(context, cause))
    }

    /// Whether notifications that reached nobody interest anybody.
    pub(super) fn wants_unreached(&self) -> bool {
        self.on_unreached.is_some()
    }

    pub(super) fn unreached(&self, engine: EngineHandle, unreached: Unreached) -> Option<Loose> {
        self.on_unreached
            .as_ref()
            .map(|hook| hook(engine, unreached))
    }

    /// Whether failures interest anybody.
    pub(super) fn wants_failures(&self) -> bool {
        self.on_error.is_some()
    }

    pub(super) fn failed(
        &self,
        context: Context,
        target: CallTarget,
        cause: FailureCause,
    ) -> Option<Loose> {
        let hook = self.on_error.as_ref()?;
        let route = match target {
            CallTarget::Route(index) => self.routes.get(usize::from(index)),
            CallTarget::Connect | CallTarget::Other => None,
        };
        let route = route.map(|(kind, _)| kind.clone());
        Some(hook(context, Failure { route, cause }))
    }
}

/// The rest of the chain: the middleware after this one, then the message's handler or its built-in meaning (contract M26).
pub struct Next {
    handlers: Handlers,
    target: CallTarget,
    at: usize,
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Next {
    /// Goes on. Middleware that does not call this has handled the message itself.
    ///
    /// # Errors
    /// Whatever the rest of the chain gives; to be passed on, unless it is answered here.
    pub async fn run(mut self, context: Context, message: Message) -> Outcome {
        if let Some(middleware) = self.handlers.middleware.get(self.at).cloned() {
            self.at += 1;
            return middleware(context, message, self).await;
        }
        match self.target {
            CallTarget::Route(index) => match self.handlers.routes.get(usize::from(index)) {
                Some((_, handler)) => handler(context, message).await,
                None => Err(HandlerError::failed("no such route")),
            },
            _ => {
                let connection = context.connection();
                context.ask(Command::RouteBuiltIn {
                    connection,
                    message: message.into_text(),
                });
                Ok(())
            }
        }
    }
}

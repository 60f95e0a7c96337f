//! What a request shows, and what follows if it shows nothing.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use shardwire_protocol::handshake::server::{Refusal, Request, Upgrade};
use shardwire_shards::vocabulary::{Denied, Standing, Token, UserId, Verdict};

use super::api_key::ApiKeys;
use super::attempt::RequestHead;
use super::jwt::Jwt;
use super::pool::{Pool, Ticket};
use super::{Attempt, AuthError, Source, Verifier};
use crate::config::{AuthenticationMethod, AuthenticationSettings};

/// The subprotocol that carries a token: `bearer.<token>` (contract D18).
const BEARER_PROTOCOL: &str = "bearer.";

/// Seconds a client is asked to stay away when nobody can tell who it is.
const RETRY_AFTER_S: u32 = 5;

/// The door: where credentials are looked for, who verifies them, and who may pass without any. One for all shards.
pub(crate) struct Gate {
    places: Places,
    required: bool,
    first_frame: bool,
    /// A verifier of the program's own may find in a request what is in none of the places.
    looks_itself: bool,
    /// Of the header `WWW-Authenticate` (RFC 9110 section 11.6.1).
    challenge: &'static str,
    pool: Pool,
    /// How long a verdict may take, in milliseconds.
    pub(crate) timeout_ms: u64,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("required", &self.required)
            .field("first_frame", &self.first_frame)
            .finish_non_exhaustive()
    }
}

/// Where tokens are looked for in a request, beside the subprotocol.
struct Places {
    /// A header whose whole value is the token; none: `Authorization: Bearer`.
    header: Option<String>,
    cookie: Option<String>,
    query: Option<String>,
}

/// What a request shows.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Something to verify before the upgrade is answered.
    Attempt(Attempt),
    /// Nothing, and it may come in as this.
    Nothing(Standing),
}

impl Gate {
    /// The door the configuration and the program ask for together; none: everybody may come in. Reads the files with keys.
    pub(crate) fn open(
        settings: &AuthenticationSettings,
        own: Option<Arc<dyn Verifier>>,
    ) -> Result<Option<Self>, AuthError> {
        let looks_itself = own.is_some();
        let verifier: Arc<dyn Verifier> = match (&settings.method, own) {
            (AuthenticationMethod::None | AuthenticationMethod::Unset, None) => return Ok(None),
            (AuthenticationMethod::Custom | AuthenticationMethod::Unset, Some(own)) => own,
            (AuthenticationMethod::Custom, None) => return Err(AuthError::NoVerifier),
            (AuthenticationMethod::Jwt(jwt), None) => Arc::new(Jwt::load(jwt)?),
            (AuthenticationMethod::ApiKey(keys), None) => Arc::new(ApiKeys::new(keys)),
            (_, Some(_)) => return Err(AuthError::TwoVerifiers),
        };
        let api_key = matches!(settings.method, AuthenticationMethod::ApiKey(_));
        Ok(Some(Self {
            places: Places {
                header: api_key.then(|| settings.header.clone()),
                cookie: settings.cookie.clone(),
                query: settings.query.clone(),
            },
            required: settings.required,
            first_frame: settings.first_frame,
            looks_itself,
            challenge: if api_key { "ApiKey" } else { "Bearer" },
            pool: Pool::start(settings.threads, verifier)?,
            timeout_ms: settings.timeout_ms,
        }))
    }

    /// What this upgrade request shows.
    ///
    /// # Errors
    /// 401 for a token that cannot be one, and for none where one is needed at once.
    pub(crate) fn look(
        &self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        address: IpAddr,
    ) -> Result<Shown, Refusal> {
        let token = match self.places.find(request, upgrade) {
            Ok(Some((text, source))) => match Token::new(&text) {
                Some(token) => Some((token, source)),
                None => return Err(self.refusal(Denied::Wrong)),
            },
            Ok(None) => None,
            Err(()) => return Err(self.refusal(Denied::Wrong)),
        };
        if token.is_none() && !self.looks_itself {
            return self.nothing_shown().map(Shown::Nothing);
        }
        let request = self
            .looks_itself
            .then(|| Arc::new(RequestHead::of(request)));
        Ok(Shown::Attempt(Attempt {
            token,
            request,
            address,
            user: None,
        }))
    }

    /// How a client that shows nothing comes in.
    fn nothing_shown(&self) -> Result<Standing, Refusal> {
        match (self.required, self.first_frame) {
            (false, _) => Ok(Standing::Anonymous),
            (true, true) => Ok(Standing::Awaited),
            (true, false) => Err(self.refusal(Denied::Missing)),
        }
    }

    /// How a client comes in whose request was verified.
    pub(crate) fn answer(&self, verdict: Verdict) -> Result<Standing, Refusal> {
        match verdict {
            Ok(identity) if identity.is_valid() => Ok(Standing::Verified(identity)),
            Ok(_) => Err(self.refusal(Denied::Wrong)),
            Err(Denied::Missing) => self.nothing_shown(),
            Err(denied) => Err(self.refusal(denied)),
        }
    }

    /// The plain answer to a client that does not come in. It does not tell what was wrong but for one thing a client can mend.
    pub(crate) fn refusal(&self, denied: Denied) -> Refusal {
        match denied {
            Denied::Unavailable => {
                Refusal::unavailable("nobody can check the credentials now", RETRY_AFTER_S)
            }
            Denied::Missing => {
                Refusal::unauthorized().with_header("WWW-Authenticate", self.challenge)
            }
            Denied::Expired => Refusal::unauthorized().with_header(
                "WWW-Authenticate",
                format!(
                    "{} error=\"invalid_token\", error_description=\"The token expired\"",
                    self.challenge
                ),
            ),
            Denied::Wrong => Refusal::unauthorized().with_header(
                "WWW-Authenticate",
                format!("{} error=\"invalid_token\"", self.challenge),
            ),
        }
    }

    /// Begins to verify; `deliver` gets the verdict on another thread. None: too many wait already.
    pub(crate) fn verify(
        &self,
        attempt: Attempt,
        deliver: impl FnOnce(Verdict) + Send + 'static,
    ) -> Option<Ticket> {
        self.pool.verify(attempt, Box::new(deliver))
    }
}

impl Attempt {
    /// A token that came in a message: the first one, or a `refresh` of this user.
    pub(crate) fn in_message(token: Token, address: IpAddr, user: Option<UserId>) -> Self {
        let source = if user.is_some() {
            Source::Refresh
        } else {
            Source::FirstFrame
        };
        Self {
            token: Some((token, source)),
            request: None,
            address,
            user,
        }
    }
}

impl Places {
    /// The first token there is. `Err`: two headers that contradict each other.
    fn find(
        &self,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
    ) -> Result<Option<(String, Source)>, ()> {
        let name = self.header.as_deref().unwrap_or("authorization");
        let mut headers = request.headers(name);
        if let Some(value) = headers.next() {
            if headers.next().is_some() {
                return Err(());
            }
            let token = match self.header {
                Some(_) => Some(value),
                None => bearer(value),
            };
            if let Some(token) = token {
                return Ok(Some((token.to_owned(), Source::Header)));
            }
        }
        let mut protocols = upgrade.protocols.iter();
        if let Some(token) = protocols.find_map(|item| item.strip_prefix(BEARER_PROTOCOL)) {
            return Ok(Some((token.to_owned(), Source::Subprotocol)));
        }
        if let Some(name) = &self.cookie
            && let Some(token) = cookie(request, name)
        {
            return Ok(Some((token.to_owned(), Source::Cookie)));
        }
        if let Some(name) = &self.query
            && let Some(token) = request.query_value(name)
        {
            return Ok(Some((token.into_owned(), Source::Query)));
        }
        Ok(None)
    }
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1); the scheme in any case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_matches(' '))
}

/// The value of a cookie (RFC 6265 section 4.2), without the quotes it may stand in.
fn cookie<'b>(request: &Request<'b>, name: &str) -> Option<&'b str> {
    let pairs = request.headers("cookie").flat_map(|line| line.split(';'));
    let value = pairs
        .filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)?;
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(unquoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use shardwire_protocol::handshake::server::{Progress, RequestLimits, read_request, upgrade};
    use shardwire_shards::vocabulary::Identity;

    use super::*;
    use crate::config::{ApiKeySettings, Authentication, Config, Environment};

    fn settings(change: impl FnOnce(&mut Authentication)) -> AuthenticationSettings {
        let mut config = Config::default();
        change(&mut config.authentication);
        let machine = Environment {
            cores: 1,
            open_file_limit: 10_000,
        };
        config.check(&machine).unwrap().authentication
    }

    fn nobody(_: Attempt) -> std::future::Ready<Verdict> {
        std::future::ready(Err(Denied::Wrong))
    }

    /// The door of a program with a verifier of its own.
    fn custom(change: impl FnOnce(&mut Authentication)) -> Gate {
        let gate = Gate::open(&settings(change), Some(Arc::new(nobody)));
        gate.unwrap().unwrap()
    }

    fn look(gate: &Gate, target: &str, headers: &str) -> Result<Shown, Refusal> {
        let text = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        let progress = read_request(text.as_bytes(), 0, &RequestLimits::default()).unwrap();
        let Progress::Complete { request, .. } = progress else {
            panic!("the request is whole");
        };
        let upgrade = upgrade(&request).unwrap();
        gate.look(&request, &upgrade, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    fn found(gate: &Gate, target: &str, headers: &str) -> Option<(String, Source)> {
        match look(gate, target, headers).unwrap() {
            Shown::Attempt(attempt) => attempt
                .token()
                .map(|token| (token.to_owned(), attempt.source().unwrap())),
            Shown::Nothing(_) => None,
        }
    }

    #[test]
    fn contract_d18_every_place_is_looked_at_in_order_and_only_those_that_are_named() {
        let all = custom(|authentication| {
            authentication.cookie = Some("session".to_owned());
            authentication.query = Some("token".to_owned());
        });
        let (authorization, protocol, cookies) = (
            "Authorization: bearer  h.e.a\r\n",
            "Sec-WebSocket-Protocol: chat, bearer.p.r.o\r\n",
            "Cookie: a=b; session=\"c.o.o\"; session=x\r\n",
        );
        let target = "/ws?token=q%2Eu&token=x";
        let everything = format!("{cookies}{protocol}{authorization}");
        let token = |text: &str, source| Some((text.to_owned(), source));
        assert_eq!(
            found(&all, target, &everything),
            token("h.e.a", Source::Header)
        );
        let without = format!("{cookies}{protocol}");
        assert_eq!(
            found(&all, target, &without),
            token("p.r.o", Source::Subprotocol)
        );
        assert_eq!(found(&all, target, cookies), token("c.o.o", Source::Cookie));
        assert_eq!(found(&all, target, ""), token("q.u", Source::Query));
        assert_eq!(found(&all, "/ws", "Authorization: Basic eDp5\r\n"), None);
        let usual = custom(|_| {});
        assert_eq!(found(&usual, target, cookies), None);
        assert!(matches!(
            look(&usual, "/ws", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
            Err(refusal) if refusal.status == 401
        ));
        let long = format!("Authorization: Bearer {}\r\n", "x".repeat(8_193));
        assert!(matches!(look(&usual, "/ws", &long), Err(refusal) if refusal.status == 401));
    }

    #[test]
    fn contract_m11_a_verifier_of_ones_own_sees_the_request_and_its_debug_shows_nothing() {
        let gate = custom(|_| {});
        let headers = "Authorization: Basic c2VjcmV0\r\nX-Tenant: blue\r\nCookie: id=secret\r\n";
        let Shown::Attempt(attempt) = look(&gate, "/ws?room=1&key=secret", headers).unwrap() else {
            panic!("it looks itself");
        };
        assert_eq!(attempt.path(), Some("/ws"));
        assert_eq!(attempt.query(), Some("room=1&key=secret"));
        assert_eq!(attempt.header("x-tenant"), Some("blue"));
        assert_eq!(attempt.header("AUTHORIZATION"), Some("Basic c2VjcmV0"));
        assert_eq!((attempt.token(), attempt.user()), (None, None));
        let shown = format!("{attempt:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("c2VjcmV0"),
            "{shown}"
        );
    }

    #[test]
    fn contract_m10_a_key_is_the_whole_value_of_its_header() {
        let mut settings = settings(|_| {});
        settings.method = AuthenticationMethod::ApiKey(vec![ApiKeySettings {
            sha256: [0; 32],
            user: "svc".to_owned(),
            name: None,
            permissions: Vec::new(),
        }]);
        let gate = Gate::open(&settings, None).unwrap().unwrap();
        assert_eq!(
            found(
                &gate,
                "/ws",
                "x-api-key: k e y\r\nAuthorization: Bearer b\r\n"
            ),
            Some(("k e y".to_owned(), Source::Header))
        );
        assert_eq!(found(&gate, "/ws", "Authorization: Bearer b\r\n"), None);
    }

    #[test]
    fn contract_m6_who_shows_nothing_waits_comes_in_as_nobody_or_is_refused() {
        let standing = |required, first_frame| {
            let gate = custom(|authentication| {
                authentication.required = required;
                authentication.first_frame = first_frame;
            });
            gate.answer(Err(Denied::Missing))
                .map_err(|refusal| refusal.status)
        };
        assert_eq!(standing(true, true), Ok(Standing::Awaited));
        assert_eq!(standing(true, false), Err(401));
        assert_eq!(standing(false, true), Ok(Standing::Anonymous));
        // Wrong credentials make nobody of nobody.
        let lax = custom(|authentication| authentication.required = false);
        assert_eq!(lax.answer(Err(Denied::Wrong)).unwrap_err().status, 401);
        assert_eq!(lax.answer(Ok(Identity::new(""))).unwrap_err().status, 401);
        assert_eq!(
            lax.answer(Err(Denied::Unavailable)).unwrap_err().status,
            503
        );
    }

    #[test]
    fn a_refusal_says_what_a_client_can_mend_and_no_more() {
        let gate = custom(|_| {});
        let written = |denied| {
            let mut out = Vec::new();
            gate.refusal(denied).write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let expired = written(Denied::Expired);
        assert!(expired.starts_with("HTTP/1.1 401 ") && expired.ends_with("Authentication failed"));
        assert!(expired.contains("error_description=\"The token expired\""));
        assert!(
            written(Denied::Wrong).contains("WWW-Authenticate: Bearer error=\"invalid_token\"\r\n")
        );
        assert!(written(Denied::Missing).contains("WWW-Authenticate: Bearer\r\n"));
        assert!(written(Denied::Unavailable).contains("Retry-After: 5\r\n"));
    }

    #[test]
    fn program_and_configuration_must_agree_on_who_verifies() {
        let own = || Some(Arc::new(nobody) as Arc<dyn Verifier>);
        let with = |method| AuthenticationSettings {
            method,
            ..settings(|_| {})
        };
        let open = |method, own| Gate::open(&with(method), own);
        assert!(open(AuthenticationMethod::Unset, None).unwrap().is_none());
        assert!(open(AuthenticationMethod::None, None).unwrap().is_none());
        assert!(open(AuthenticationMethod::Unset, own()).unwrap().is_some());
        assert!(open(AuthenticationMethod::Custom, own()).unwrap().is_some());
        assert!(matches!(
            open(AuthenticationMethod::Custom, None),
            Err(AuthError::NoVerifier)
        ));
        assert!(matches!(
            open(AuthenticationMethod::None, own()),
            Err(AuthError::TwoVerifiers)
        ));
        assert!(matches!(
            open(AuthenticationMethod::ApiKey(Vec::new()), own()),
            Err(AuthError::TwoVerifiers)
        ));
    }
}

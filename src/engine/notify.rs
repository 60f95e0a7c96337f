//! Inboxes, from outside: sending notifications, reading them, noting what became of them (contract N4 to N9).

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use shardwire_protocol::codes::ErrorCode;
use shardwire_protocol::envelope::notifications::write_members;
use shardwire_protocol::envelope::{MAX_DEPTH, is_deeper_than};
use shardwire_shards::vocabulary::{
    Command, Mark, Notice, NotificationCommand, NotificationId, NotificationList,
    NotificationQuery, SentNotification, is_valid_user,
};

use super::error::NotifyError;
use super::handle::EngineHandle;
use super::inbox::{Item, Waiting};
use super::pending::Pending;

/// What a user is to be told.
///
/// ```
/// use shardwire::Notification;
///
/// let notification = Notification {
///     body: Some("It arrives on Friday.".into()),
///     kind: Some("order".into()),
///     data: serde_json::json!({ "order": 4711 }),
///     ..Notification::new("Your parcel is on its way")
/// };
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notification {
    /// The headline.
    pub title: String,
    /// More words.
    pub body: Option<String>,
    /// What kind of notification it is, for the client to tell apart; `notificationType` on the wire (decision D3).
    pub kind: Option<String>,
    /// Anything else; `null`: nothing.
    pub data: Value,
    /// How long it is of use, if that is shorter than `notifications.ttl`.
    pub ttl: Option<Duration>,
}

impl Notification {
    /// One that says this and nothing else.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    fn members(&self) -> Result<Box<[u8]>, NotifyError> {
        let data = match &self.data {
            Value::Null => None,
            data => Some(serde_json::to_string(data)?),
        };
        if data
            .as_deref()
            .is_some_and(|data| is_deeper_than(data, MAX_DEPTH - 1))
        {
            return Err(NotifyError::TooDeep);
        }
        let mut members = Vec::new();
        write_members(
            &mut members,
            &self.title,
            self.body.as_deref(),
            self.kind.as_deref(),
            data.as_deref(),
        );
        Ok(members.into())
    }
}

/// A notification as an inbox has it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredNotification {
    /// Its id.
    pub id: NotificationId,
    /// The headline.
    pub title: String,
    /// More words.
    pub body: Option<String>,
    /// What kind it is.
    pub kind: Option<String>,
    /// Anything else.
    pub data: Value,
    /// When it was sent, in milliseconds since 1970.
    pub timestamp: u64,
    /// Whether it was written to a socket of the user (decision D9).
    pub delivered: bool,
    /// Whether a client said that it has it.
    pub acknowledged: bool,
    /// Whether the user has seen it.
    pub read: bool,
}

impl From<Notice> for StoredNotification {
    fn from(notice: Notice) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Members {
            title: String,
            body: Option<String>,
            #[serde(rename = "notificationType")]
            kind: Option<String>,
            data: Value,
        }
        let mut object = Vec::with_capacity(notice.members.len() + 2);
        object.push(b'{');
        object.extend_from_slice(&notice.members);
        object.push(b'}');
        // They were written as JSON at this door.
        let members: Members = serde_json::from_slice(&object).unwrap_or_default();
        Self {
            id: notice.id,
            title: members.title,
            body: members.body,
            kind: members.kind,
            data: members.data,
            timestamp: notice.unix_ms,
            delivered: notice.marks.delivered,
            acknowledged: notice.marks.acknowledged,
            read: notice.marks.read,
        }
    }
}

/// A notification that reached no connection of its user, for the hook [`on_unreached`](crate::EngineBuilder::on_unreached).
#[derive(Debug, Clone, PartialEq)]
pub struct Unreached {
    /// Whom it is for.
    pub user: String,
    /// What waits in the inbox.
    pub notification: StoredNotification,
}

/// A part of an inbox.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NotificationPage {
    /// The notifications, in the order that was asked for.
    pub notifications: Vec<StoredNotification>,
    /// What to give as [`NotificationPages::cursor`] for those behind; none: there are none.
    pub next: Option<NotificationId>,
    /// Unread ones of the whole inbox.
    pub unread: usize,
    /// All of the inbox.
    pub total: usize,
}

impl From<NotificationList> for NotificationPage {
    fn from(list: NotificationList) -> Self {
        Self {
            notifications: list.notices.into_iter().map(Into::into).collect(),
            next: list.next,
            unread: list.unread,
            total: list.total,
        }
    }
}

/// Which part of an inbox is wanted (contract N7): newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationPages {
    /// At most so many.
    pub limit: usize,
    /// After so many others.
    pub offset: usize,
    /// Behind this one: where the last page ended. What comes in meanwhile moves nothing then.
    pub cursor: Option<NotificationId>,
}

impl Default for NotificationPages {
    fn default() -> Self {
        Self {
            limit: 50,
            offset: 0,
            cursor: None,
        }
    }
}

/// A notification on its way: `.await` what becomes of it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "nobody will know whether it was taken"]
pub struct PendingNotification(oneshot::Receiver<Result<SentNotification, ErrorCode>>);

impl PendingNotification {
    /// Blocks until it is known.
    ///
    /// # Errors
    /// See [`NotifyError`]; when it says so, the inbox has not got it. `Overloaded` can also mean that the engine stopped meanwhile.
    pub fn wait(self) -> Result<SentNotification, NotifyError> {
        sent(self.0.recv())
    }
}

impl IntoFuture for PendingNotification {
    type Output = Result<SentNotification, NotifyError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { sent(receiver.await) })
    }
}

fn sent(
    told: Result<Result<SentNotification, ErrorCode>, oneshot::RecvError>,
) -> Result<SentNotification, NotifyError> {
    told.map_err(|_| NotifyError::Overloaded)?
        .map_err(NotifyError::from_code)
}

/// A part of an inbox on its way: `.await` it from any async runtime, or [`wait`](Self::wait) for it.
#[derive(Debug)]
#[must_use = "the answer is lost unless somebody waits for it"]
pub struct PendingInbox(oneshot::Receiver<NotificationList>);

impl PendingInbox {
    /// Blocks until it is there. Empty when the engine is overloaded or has stopped.
    #[must_use]
    pub fn wait(self) -> NotificationPage {
        self.0.recv().unwrap_or_default().into()
    }
}

impl IntoFuture for PendingInbox {
    type Output = NotificationPage;
    type IntoFuture = Pin<Box<dyn Future<Output = NotificationPage> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let receiver = self.0.into_future();
        Box::pin(async move { receiver.await.unwrap_or_default().into() })
    }
}

impl EngineHandle {
    /// Puts a notification into the user's inbox and sends it to all of the user's connections (contract N9). The answer says under which id,
    /// and to how many connections it was passed on; with none it waits until the user connects, and the hook
    /// [`on_unreached`](crate::EngineBuilder::on_unreached) is called.
    ///
    /// ```no_run
    /// # use shardwire::{EngineHandle, Notification};
    /// # async fn tell(engine: EngineHandle) -> Result<(), shardwire::NotifyError> {
    /// let sent = engine.send_notification("ann", &Notification::new("Your parcel is on its way"))?.await?;
    /// println!("{} went to {} connections", sent.id, sent.connections);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`NotifyError`]; when it says so, the inbox has not got it.
    pub fn send_notification(
        &self,
        user: &str,
        notification: &Notification,
    ) -> Result<PendingNotification, NotifyError> {
        self.put_notification(user, notification, true)
    }

    /// Puts a notification into the user's inbox and sends it to nobody now: connections get it when they are opened (contract N8).
    ///
    /// # Errors
    /// As [`send_notification`](Self::send_notification).
    pub fn store_notification(
        &self,
        user: &str,
        notification: &Notification,
    ) -> Result<PendingNotification, NotifyError> {
        self.put_notification(user, notification, false)
    }

    fn put_notification(
        &self,
        user: &str,
        notification: &Notification,
        deliver: bool,
    ) -> Result<PendingNotification, NotifyError> {
        self.check_inbox(user)?;
        let members = notification.members()?;
        let (len, max) = (members.len(), self.notification_size_max());
        if len > max {
            return Err(NotifyError::TooLarge { len, max });
        }
        let (waiting, told) = oneshot::channel();
        let ttl = notification.ttl;
        self.ask_home(user, Waiting::Sent(waiting), |answer| {
            NotificationCommand::Send {
                user: user.into(),
                members,
                lifetime_ms: ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
                deliver,
                answer: Some(answer),
            }
        })?;
        Ok(PendingNotification(told))
    }

    /// What the user has neither been delivered nor read, oldest first (contract N4).
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn pending_notifications(&self, user: &str) -> Result<PendingInbox, NotifyError> {
        self.read_inbox(
            user,
            NotificationQuery {
                pending: true,
                limit: usize::MAX,
                offset: 0,
                cursor: None,
            },
        )
    }

    /// A part of the user's inbox, newest first (contract N7).
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn notifications(
        &self,
        user: &str,
        pages: NotificationPages,
    ) -> Result<PendingInbox, NotifyError> {
        self.read_inbox(
            user,
            NotificationQuery {
                pending: false,
                limit: pages.limit,
                offset: pages.offset,
                cursor: pages.cursor,
            },
        )
    }

    fn read_inbox(
        &self,
        user: &str,
        query: NotificationQuery,
    ) -> Result<PendingInbox, NotifyError> {
        self.check_inbox(user)?;
        let (waiting, list) = oneshot::channel();
        self.ask_home(user, Waiting::Inbox(waiting), |answer| {
            NotificationCommand::List {
                user: user.into(),
                query,
                answer,
            }
        })?;
        Ok(PendingInbox(list))
    }

    /// Notes that the user has got these by another way, so that they are not sent again (contract N5). The answer is how many that has
    /// changed; ids that the inbox does not have are passed over.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn mark_delivered(
        &self,
        user: &str,
        ids: &[NotificationId],
    ) -> Result<Pending<usize>, NotifyError> {
        self.mark(user, ids, Mark::Delivered)
    }

    /// Notes that the user has seen these (contract N6); all of the user's connections are told how many are unread now. The answer is how
    /// many that has changed.
    ///
    /// # Errors
    /// See [`NotifyError`].
    pub fn mark_read(
        &self,
        user: &str,
        ids: &[NotificationId],
    ) -> Result<Pending<usize>, NotifyError> {
        self.mark(user, ids, Mark::Read)
    }

    fn mark(
        &self,
        user: &str,
        ids: &[NotificationId],
        mark: Mark,
    ) -> Result<Pending<usize>, NotifyError> {
        self.check_inbox(user)?;
        let (waiting, count) = oneshot::channel();
        self.ask_home(user, Waiting::Count(waiting), |answer| {
            NotificationCommand::Mark {
                user: user.into(),
                ids: ids.to_vec(),
                mark,
                answer: Some(answer),
            }
        })?;
        Ok(Pending(count))
    }

    fn check_inbox(&self, user: &str) -> Result<(), NotifyError> {
        if self.inner.notifications.is_none() {
            return Err(NotifyError::Disabled);
        }
        if !is_valid_user(user) {
            return Err(NotifyError::User(user.to_owned()));
        }
        Ok(())
    }

    fn notification_size_max(&self) -> usize {
        let settings = self.inner.notifications;
        settings.map_or(0, |settings| settings.max_size)
    }

    fn ask_home(
        &self,
        user: &str,
        waiting: Waiting,
        command: impl FnOnce(shardwire_shards::vocabulary::AnswerId) -> NotificationCommand,
    ) -> Result<(), NotifyError> {
        let home = self.inner.placement.home_of_user(user);
        self.inner
            .inboxes
            .ask(home, waiting, |answer| {
                Command::Notification(command(answer))
            })
            .map_err(|_: Item| NotifyError::Overloaded)
    }
}

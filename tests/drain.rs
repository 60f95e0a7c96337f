//! SIGTERM with thousands of clients. Goal: every client is told when to come back, the closes are spread over the window, nothing
//! that was queued is lost, exit code 0. Method: the program itself, 5,000 raw clients on loopback, a publisher that goes on.
#![allow(clippy::unwrap_used)]

#[path = "support/http.rs"]
mod http;
#[path = "support/program.rs"]
mod program;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Admin;
use program::Program;
use serde_json::{Value, json};
use shardwire_protocol::codes::close;
use shardwire_protocol::handshake::client::ClientHandshake;
use shardwire_protocol::websocket::{Decoder, Event, Role, Rules, frame};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

const CLIENTS: usize = 5_000;
/// Clients that read nothing until the server is told to end, while much waits for them.
const READ_LATE: usize = 20;
const BULK: usize = 48;
const WINDOW: Duration = Duration::from_secs(3);
const KEY: &str = "correct-horse-battery-staple";
const CLIENT: Rules = Rules {
    role: Role::Client,
    max_message_size: 1 << 20,
};

/// What one client saw, in seconds since the test began.
#[derive(Debug, Default)]
struct Seen {
    /// When it was told, and for when.
    advised: Option<(f64, f64)>,
    closed: Option<(f64, u16)>,
    /// Numbers published, as they came.
    news: Vec<u64>,
    bulk: usize,
}

struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Connection {
    async fn open(address: std::net::SocketAddr, receive_buffer: Option<usize>) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::TcpSocket::from_std_stream(socket.into());
        let mut stream = socket.connect(address).await.unwrap();
        let handshake = ClientHandshake::new([7; 16]);
        let mut request = Vec::new();
        handshake.write_request(&mut request, "h", "/ws", &[]);
        stream.write_all(&request).await.unwrap();
        let mut connection = Self {
            stream,
            decoder: Decoder::default(),
            buffer: vec![0; 8 << 10],
            from: 0,
            to: 0,
        };
        loop {
            connection.fill().await;
            let head = &connection.buffer[..connection.to];
            if let Some(len) = handshake.read_response(head).unwrap() {
                connection.from = len;
                return connection;
            }
        }
    }

    /// More bytes; false at the end of the stream.
    async fn fill(&mut self) -> bool {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        let read = self
            .stream
            .read(&mut self.buffer[self.to..])
            .await
            .unwrap_or(0);
        self.to += read;
        read > 0
    }

    async fn say(&mut self, message: Value) {
        let mut out = Vec::new();
        frame::write_client(
            &mut out,
            frame::Kind::Text,
            message.to_string().as_bytes(),
            [1; 4],
        );
        self.stream.write_all(&out).await.unwrap();
    }

    /// Reads what there is; hands every event to `hear`, which says whether to go on.
    async fn listen(&mut self, mut hear: impl FnMut(Event<'_>) -> bool) {
        loop {
            while self.from < self.to {
                let decoded = self
                    .decoder
                    .decode(&CLIENT, &mut self.buffer[self.from..self.to])
                    .unwrap();
                self.from += decoded.consumed;
                if let Some(event) = decoded.event
                    && !hear(event)
                {
                    return;
                }
            }
            if !self.fill().await {
                return;
            }
        }
    }
}

struct Test {
    begin: Instant,
    address: std::net::SocketAddr,
    subscribed: AtomicU64,
    all_there: Notify,
    read: watch::Receiver<bool>,
}

impl Test {
    fn now(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    async fn client(self: Arc<Self>, number: usize) -> Seen {
        let late = number < READ_LATE;
        let mut connection = Connection::open(self.address, late.then_some(4 << 10)).await;
        let channel = if late { "bulk" } else { "news" };
        connection
            .say(json!({"type": "subscribe", "channel": channel}))
            .await;
        connection
            .listen(|event| !matches!(event, Event::Text(text) if text.contains("subscribed")))
            .await;
        if self.subscribed.fetch_add(1, Ordering::SeqCst) + 1 == CLIENTS as u64 {
            self.all_there.notify_one();
        }
        if late {
            let mut read = self.read.clone();
            read.wait_for(|read| *read).await.unwrap();
        }
        let mut seen = Seen::default();
        connection
            .listen(|event| {
                match event {
                    Event::Text(text) => {
                        let message: Value = serde_json::from_str(text).unwrap();
                        match message["type"].as_str().unwrap() {
                            "reconnect" => {
                                let delay = message["delay"].as_f64().unwrap() / 1e3;
                                seen.advised = Some((self.now(), delay));
                            }
                            "broadcast" if late => seen.bulk += 1,
                            "broadcast" => seen.news.push(message["message"].as_u64().unwrap()),
                            other => panic!("{other}"),
                        }
                    }
                    Event::Close(peer) => {
                        seen.closed =
                            Some((self.now(), peer.map_or(close::NO_STATUS, |peer| peer.code)));
                        return false;
                    }
                    _ => {}
                }
                true
            })
            .await;
        let mut answer = Vec::new();
        let payload = close::DRAINING.to_be_bytes();
        frame::write_client(&mut answer, frame::Kind::Close, &payload, [2; 4]);
        let _ = connection.stream.write_all(&answer).await;
        seen
    }
}

#[test]
fn sigterm_tells_five_thousand_clients_and_closes_them_over_the_window() {
    shardwire::runtime::preflight::open_file_limit().unwrap();
    let mut program = Program::start(&[
        ("SHARDS__COUNT", "2"),
        ("SHARDS__PIN", "false"),
        ("SHARDS__PLACEMENT", "accept"),
        ("CONNECTIONS__CONNECTION_TIMEOUT", "60s"),
        ("SHUTDOWN__DRAIN_TIMEOUT", "40s"),
        ("SHUTDOWN__DRAIN_WINDOW", "3s"),
        ("ADMIN__ADDRESS", "127.0.0.1:0"),
        ("ADMIN__KEY", KEY),
    ]);
    let admin = Admin {
        address: program.admin.unwrap(),
        key: Some(KEY.to_owned()),
    };
    let (read_now, read) = watch::channel(false);
    let test = Arc::new(Test {
        begin: Instant::now(),
        address: program.address,
        subscribed: AtomicU64::new(0),
        all_there: Notify::new(),
        read,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let publishing = AtomicBool::new(true);
    let taken = AtomicU64::new(0);
    let (seen, told_to_end, taken_before) = std::thread::scope(|scope| {
        runtime.block_on(async {
            let mut clients = Vec::new();
            for first in (0..CLIENTS).step_by(250) {
                for number in first..CLIENTS.min(first + 250) {
                    clients.push(tokio::spawn(Arc::clone(&test).client(number)));
                }
                let wanted = (first + 250) as u64;
                while test.subscribed.load(Ordering::SeqCst) < wanted.min(CLIENTS as u64) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            test.all_there.notified().await;
            // Much waits for those that do not read: more than their sockets take, less than closes them.
            let bulk: Vec<Value> = (0..BULK)
                .map(|_| json!({"channel": "bulk", "message": "b".repeat(16 << 10)}))
                .collect();
            scope.spawn({
                let (admin, publishing, taken) = (&admin, &publishing, &taken);
                move || {
                    assert_eq!(
                        admin.post("/v1/publish/batch", &json!(bulk))["published"],
                        BULK
                    );
                    for number in 0.. {
                        let publication = json!({"channel": "news", "message": number}).to_string();
                        if !publishing.load(Ordering::SeqCst)
                            || admin.call("POST", "/v1/publish", &publication).status != 200
                        {
                            break;
                        }
                        taken.store(number + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(250));
                    }
                }
            });
            while taken.load(Ordering::SeqCst) < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let taken_before = taken.load(Ordering::SeqCst);
            let told_to_end = test.now();
            program.signal("TERM");
            read_now.send(true).unwrap();
            let mut seen = Vec::new();
            for client in clients {
                let client = tokio::time::timeout(Duration::from_secs(60), client);
                seen.push(client.await.unwrap().unwrap());
                // While clients are left the server is, and the publisher with it.
                if seen.len() == CLIENTS * 9 / 10 {
                    publishing.store(false, Ordering::SeqCst);
                }
            }
            (seen, told_to_end, taken_before)
        })
    });
    let exit = program.wait();

    let (mut told, mut tenths) = ([0; 10], [0; 10]);
    let mut latest = 0.0_f64;
    for (number, seen) in seen.iter().enumerate() {
        let (advised, delay) = seen
            .advised
            .unwrap_or_else(|| panic!("{number} was not told"));
        let (closed, code) = seen.closed.unwrap_or_else(|| panic!("{number} was cut"));
        assert_eq!(code, close::DRAINING);
        assert!(delay <= WINDOW.as_secs_f64(), "{delay}");
        // The moment it was told is the moment it was closed; never earlier.
        assert!(
            closed >= advised.max(told_to_end + delay) - 0.05,
            "{number}: {seen:?}"
        );
        latest = latest.max(closed - (told_to_end + delay));
        let tenth = |after: f64| ((after * 10.0 / WINDOW.as_secs_f64()) as usize).min(9);
        told[tenth(delay)] += 1;
        tenths[tenth(closed - told_to_end)] += 1;
        if number < READ_LATE {
            assert_eq!(seen.bulk, BULK, "what waited is not lost");
        } else {
            let all: Vec<u64> = (0..seen.news.len() as u64).collect();
            assert_eq!(seen.news, all, "nothing is lost, doubled or out of order");
            assert!(
                all.len() as u64 >= taken_before,
                "{number}: {} of {taken_before}",
                all.len()
            );
        }
    }
    println!("delays per tenth of the window: {told:?}");
    println!("closes per tenth of the window: {tenths:?}; latest {latest:.3} s after its moment");
    // How even the moments are is tested with virtual time (`shards/tests/drain.rs`). Here, on a machine that may be busy: no wave,
    // neither of what clients were told nor of what happened to them.
    for tenths in [told, tenths] {
        assert!(tenths.iter().all(|count| *count <= 2_000), "{tenths:?}");
        assert!(
            tenths.iter().filter(|count| **count >= 100).count() >= 6,
            "{tenths:?}"
        );
    }
    assert_eq!(exit, 0, "{}", program.said());
}

//! More connections than the process may have open files.
#![allow(clippy::unwrap_used)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::net::TcpStream;

use program::Program;
use serde_json::json;
use support::{Client, PATIENCE};

/// What the program may have open.
const OPEN_FILES: usize = 256;

const CONNECTIONS: usize = 1_000;

fn connect(program: &Program) -> Client<TcpStream> {
    let stream = TcpStream::connect(program.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client::over(stream, "/ws")
}

/// Holds far more connections than files, on both shards and under every placement: each is upgraded, hears a publication and says
/// something itself.
fn serves_more_connections_than_files(placement: &str) {
    // The clients' ends need files, too.
    shardwire::runtime::preflight::open_file_limit().unwrap();
    let wanted = CONNECTIONS.to_string();
    let mut program = Program::start_under(
        OPEN_FILES,
        &[
            ("CONNECTIONS__MAX_CONNECTIONS", &wanted),
            ("SHARDS__COUNT", "2"),
            ("SHARDS__PLACEMENT", placement),
        ],
    );
    assert_eq!(program.open_file_limit(), OPEN_FILES);
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = connect(&program);
            client.subscribe("news");
            client
        })
        .collect();
    let files = program.open_files();
    assert!(files < OPEN_FILES, "{files} files are open");
    assert!(
        program
            .said()
            .contains("connections are direct descriptors"),
        "{}",
        program.said()
    );

    let publication = json!({"type": "publish", "channel": "news", "message": "to all"});
    clients[CONNECTIONS - 1].send(&publication);
    for client in &mut clients {
        let mut heard = client.receive();
        // The publisher's own answer may come first.
        if heard["type"] != "broadcast" {
            heard = client.receive();
        }
        assert_eq!(heard["message"], "to all", "{heard}");
    }
    for client in &mut clients {
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }

    // Those that go make room for others.
    clients.truncate(CONNECTIONS / 2);
    clients.extend((0..CONNECTIONS / 4).map(|_| connect(&program)));
    for client in &mut clients {
        assert_eq!(client.ask(&json!({"type": "ping"}))["type"], "pong");
    }
    program.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.read_close().0, 4200);
    }
    drop(clients);
    assert_eq!(program.wait(), 0, "{}", program.said());
}

#[test]
fn more_connections_than_files_are_served() {
    serves_more_connections_than_files("accept");
}

#[test]
fn more_connections_than_files_are_handed_off_to_the_home_of_their_user() {
    serves_more_connections_than_files("user-hash");
}

#[test]
fn where_files_alone_may_hold_connections_the_program_says_how_many_it_needs() {
    let wanted = CONNECTIONS.to_string();
    let refused = Program::refused_under(
        OPEN_FILES,
        &[
            ("CONNECTIONS__MAX_CONNECTIONS", &wanted),
            ("SHARDS__COUNT", "2"),
            ("SHARDS__DIRECT_DESCRIPTORS", "off"),
        ],
    );
    assert!(refused.contains("ulimit -n 1096"), "{refused}");
}

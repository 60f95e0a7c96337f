//! Who is compared: how each is started, spoken to, and which version it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cases::{Case, Kind};
use super::certificate::Certificate;

/// What a peer can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Echo, and this project's messages.
    All,
    /// Only echo.
    Echo,
    /// Its own text protocol, for publishing and subscribing.
    Nats,
    /// What is sent is published to everybody who is connected.
    Nchan,
}

/// Where its version is written down.
#[derive(Debug, Clone, Copy)]
pub enum Version {
    /// This repository.
    Own,
    /// A package that npm has installed, beside the peer's own directory.
    Npm(&'static str, &'static str),
    /// A crate of the Rust peers' lock file.
    Crate(&'static str),
    /// A package of the system.
    Debian(&'static str),
    /// It has none.
    None,
}

/// One of them.
#[derive(Debug)]
pub struct Peer {
    pub name: &'static str,
    pub title: &'static str,
    pub speaks: Speaks,
    /// It can be given a certificate.
    pub secure: bool,
    pub version: Version,
}

/// How to start it.
#[derive(Debug, Default)]
pub struct Start {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

const fn rust(name: &'static str, title: &'static str, speaks: Speaks, secure: bool) -> Peer {
    Peer {
        name,
        title,
        speaks,
        secure,
        version: Version::Crate(name),
    }
}

/// All of them.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "shardwire",
        title: "this server, one shard",
        speaks: Speaks::All,
        secure: true,
        version: Version::Own,
    },
    Peer {
        name: "bun",
        title: "Bun's own server (uWebSockets inside)",
        speaks: Speaks::All,
        secure: true,
        version: Version::Npm("bun", "bun"),
    },
    rust(
        "tokio-websockets",
        "tokio-websockets on one tokio thread",
        Speaks::All,
        true,
    ),
    rust(
        "fastwebsockets",
        "fastwebsockets on one tokio thread, echo only",
        Speaks::Echo,
        false,
    ),
    rust(
        "axum",
        "axum on one tokio thread, rooms by broadcast channels",
        Speaks::All,
        false,
    ),
    Peer {
        name: "ws",
        title: "ws on Node",
        speaks: Speaks::All,
        secure: false,
        version: Version::Npm("ws", "ws"),
    },
    Peer {
        name: "nats",
        title: "nats-server, its protocol through WebSocket",
        speaks: Speaks::Nats,
        secure: false,
        version: Version::Debian("nats-server"),
    },
    Peer {
        name: "nchan",
        title: "nginx with nchan",
        speaks: Speaks::Nchan,
        secure: false,
        version: Version::Debian("libnginx-mod-nchan"),
    },
    Peer {
        name: "floor",
        title: "no server: an epoll loop that only receives, unmasks and sends",
        speaks: Speaks::Echo,
        secure: false,
        version: Version::None,
    },
];

/// The peers with these names; an empty name is nobody.
///
/// # Errors
/// An unknown name.
pub fn named(names: &[String]) -> Result<Vec<&'static Peer>> {
    let find = |name: &String| match PEERS.iter().find(|peer| peer.name == name) {
        Some(peer) => Ok(peer),
        None => bail!("there is no peer {name:?}; --list names them all"),
    };
    let names = names.iter().filter(|name| !name.is_empty());
    names.map(find).collect()
}

impl Peer {
    /// Whether it can be measured in this case.
    pub fn takes(&self, case: &Case) -> bool {
        let speaks = match case.kind {
            Kind::Echo => matches!(self.speaks, Speaks::All | Speaks::Echo),
            // It does not say goodbye, and holds connections in the plainest way.
            Kind::Churn | Kind::Idle if self.name == "floor" => false,
            Kind::Churn => matches!(self.speaks, Speaks::All | Speaks::Echo),
            Kind::Idle => true,
            Kind::Fanout => self.speaks != Speaks::Echo,
            Kind::Pairs => matches!(self.speaks, Speaks::All | Speaks::Nats),
        };
        speaks && (self.secure || !case.secure)
    }

    /// The path its clients ask for.
    pub fn path(&self, case: &Case) -> &'static str {
        match case.kind {
            Kind::Echo | Kind::Churn => "/echo",
            _ if self.speaks == Speaks::Echo => "/echo",
            _ => "/ws",
        }
    }

    /// Options of the load test by which this peer is understood.
    pub fn dialect(&self, case: &Case) -> &'static [&'static str] {
        if !matches!(case.kind, Kind::Fanout | Kind::Pairs) {
            return &[];
        }
        match self.speaks {
            Speaks::All | Speaks::Echo => &[],
            // The payload is 64 bytes, as in all cases that it takes.
            Speaks::Nats => &[
                "--subscribe-template",
                "SUB {channel} 1\r\nPING\r\n",
                "--subscribed-match",
                "PONG",
                "--publish-template",
                "PUB {channel} 64\r\n{text}\r\n",
                "--error-match=-ERR",
            ],
            Speaks::Nchan => &[
                "--subscribe-template",
                "",
                "--subscribed-match",
                "",
                "--publish-template",
                "{text}",
                "--error-match",
                "",
            ],
        }
    }

    /// How to start it on a port. `folder`: for what it writes and for its configuration.
    ///
    /// # Errors
    /// Its configuration cannot be written.
    pub fn start(
        &self,
        root: &Path,
        port: u16,
        folder: &Path,
        certificate: Option<&Certificate>,
    ) -> Result<Start> {
        let address = format!("127.0.0.1:{port}");
        let mut start = Start {
            program: self.program(root),
            ..Start::default()
        };
        let server_js = |of: &str| root.join("loadtest/peers").join(of).join("server.js");
        match self.name {
            "shardwire" => {
                let mut set = |name: &str, value: &str| {
                    start.environment.push((name.to_owned(), value.to_owned()));
                };
                set("SHARDWIRE_SHARDS__COUNT", "1");
                set("SHARDWIRE_LISTEN__ADDRESS", &address);
                if let Some(certificate) = certificate {
                    set(
                        "SHARDWIRE_LISTEN__TLS__CERTIFICATE",
                        &certificate.certificate(),
                    );
                    set("SHARDWIRE_LISTEN__TLS__KEY", &certificate.key());
                }
                return Ok(start);
            }
            "nats" => {
                let path = configured(root, "nats/nats.conf", port, folder)?;
                start.arguments = vec!["--config".to_owned(), path];
                return Ok(start);
            }
            "nchan" => {
                let path = configured(root, "nchan/nginx.conf", port, folder)?;
                start.arguments = vec!["-c".to_owned(), path];
                return Ok(start);
            }
            "bun" | "ws" => start
                .arguments
                .push(server_js(self.name).display().to_string()),
            _ => {}
        }
        start.arguments.push(address);
        if let Some(certificate) = certificate {
            start
                .arguments
                .extend([certificate.certificate(), certificate.key()]);
        }
        Ok(start)
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, root: &Path) -> Result<()> {
        let program = self.program(root);
        let is_there = if program.is_absolute() {
            program.exists()
        } else {
            let paths = env::var_os("PATH").unwrap_or_default();
            env::split_paths(&paths).any(|path| path.join(&program).exists())
        };
        let complete = self.name != "ws" || root.join("loadtest/peers/ws/node_modules/ws").exists();
        if !is_there || !complete {
            bail!(
                "{} is not there ({}): run loadtest/peers/install, or leave it out",
                self.name,
                program.display()
            );
        }
        Ok(())
    }

    fn program(&self, root: &Path) -> PathBuf {
        let peers = root.join("loadtest/peers");
        match self.name {
            "shardwire" => target(root).join("release/shardwire"),
            "bun" => peers.join("bun/node_modules/.bin/bun"),
            "ws" => "node".into(),
            "nats" => "nats-server".into(),
            "nchan" => "nginx".into(),
            name => target(&peers.join("rust")).join("release").join(name),
        }
    }

    /// For the table's head.
    pub fn version(&self, root: &Path) -> String {
        let version = match self.version {
            Version::Own => Some(env!("CARGO_PKG_VERSION").to_owned()),
            Version::Npm(directory, package) => {
                let installed = format!("{directory}/node_modules/{package}/package.json");
                let text = fs::read_to_string(root.join("loadtest/peers").join(installed));
                let package = text
                    .ok()
                    .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
                package.and_then(|package| Some(package["version"].as_str()?.to_owned()))
            }
            Version::Crate(name) => {
                let lock = fs::read_to_string(root.join("loadtest/peers/rust/Cargo.lock"));
                lock.ok().and_then(|lock| locked(&lock, name))
            }
            Version::Debian(package) => Command::new("dpkg-query")
                .args(["--show", "--showformat", "${Version}", package])
                .output()
                .ok()
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Version::None => None,
        };
        version.unwrap_or_default()
    }
}

/// Where Cargo puts what it builds of a package.
fn target(package: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), PathBuf::from)
}

/// A configuration with its placeholders replaced; its path.
fn configured(root: &Path, name: &str, port: u16, folder: &Path) -> Result<String> {
    let template = root.join("loadtest/peers").join(name);
    let text = fs::read_to_string(&template)
        .with_context(|| format!("cannot read {}", template.display()))?;
    let text = text
        .replace("{port}", &port.to_string())
        .replace("{folder}", &folder.display().to_string());
    let path = folder.join("peer.conf");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.display().to_string())
}

/// The version of a crate in a lock file.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(after.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cases::CASES;
    use super::*;

    #[test]
    fn every_case_has_somebody_to_compare_with() {
        for case in CASES {
            let takers = PEERS.iter().filter(|peer| peer.takes(case)).count();
            assert!(takers >= 3, "{}: {takers}", case.name);
        }
    }

    #[test]
    fn unknown_names_are_told() {
        let unknown = named(&["bun".to_owned(), "nginx".to_owned()]).unwrap_err();
        assert!(unknown.to_string().contains("nginx"), "{unknown}");
        assert!(named(&[String::new()]).unwrap().is_empty());
    }

    #[test]
    fn a_locked_version_is_found() {
        let lock = "[[package]]\nname = \"axum-core\"\nversion = \"0.5.6\"\n\n[[package]]\nname = \"axum\"\nversion = \"0.8.9\"\n";
        assert_eq!(locked(lock, "axum").as_deref(), Some("0.8.9"));
        assert_eq!(locked(lock, "tokio"), None);
    }
}

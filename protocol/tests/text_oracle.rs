//! Operations on text mean what they mean in npm `ot-text-unicode`, and hold what npm `ot-fuzzer` wants of them.
//!
//! `TEXT_TRIPLES=1000000` and `TEXT_FUZZ_ROUNDS=10000` in the environment make more of it, `TEXT_SEED` something else.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shardwire_protocol::text::{Component, Content, Operation, Side, transform_position};

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// The script, as a program that is asked and answers in lines of JSON; killed at the end of the test.
struct Oracle {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    directory: PathBuf,
}

impl Oracle {
    fn start(arguments: &[&str]) -> Oracle {
        let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/foreign");
        assert!(
            foreign.join("node_modules/ot-text-unicode").exists(),
            "ot-text-unicode is missing; install it with: npm ci --prefix tests/foreign"
        );
        // ot-fuzzer leaves files where it runs.
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "oracle-{}-{}",
            std::process::id(),
            arguments.join("-")
        ));
        std::fs::create_dir_all(&directory).unwrap();
        let mut child = Command::new("node")
            .arg(foreign.canonicalize().unwrap().join("text_oracle.mjs"))
            .args(arguments)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Oracle {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            directory,
        }
    }

    fn write(&mut self, value: &impl Serialize) {
        let mut line = serde_json::to_vec(value).unwrap();
        line.push(b'\n');
        self.input.as_mut().unwrap().write_all(&line).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the oracle ended: {line:?}");
        line
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[derive(Serialize)]
struct Question {
    text: String,
    a: Operation,
    b: Operation,
    next: Operation,
    positions: [u32; 3],
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Answer {
    applied: String,
    a_left: Operation,
    a_right: Operation,
    b_left: Operation,
    b_right: Operation,
    composed: Operation,
    positions: [u32; 3],
    invertible: Operation,
    inverted: Operation,
    stripped: Operation,
}

fn random_text(random: &mut StdRng, most: usize) -> String {
    const CHARACTERS: [char; 12] = [
        'a',
        'b',
        'c',
        ' ',
        '\n',
        'é',
        '\u{301}',
        '漢',
        '\u{200d}',
        '😭',
        '👻',
        '\u{10ffff}',
    ];
    (0..random.random_range(0..=most))
        .map(|_| CHARACTERS[random.random_range(0..CHARACTERS.len())])
        .collect()
}

/// An operation on `text`: up to 8 steps before it is canonical; half of its deletes say what they take.
fn random_operation(random: &mut StdRng, text: &str) -> Operation {
    let mut rest = text;
    let mut inserted: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..random.random_range(0..8) {
        let what = random.random_range(0..5);
        if what < 2 {
            inserted.push(random_text(random, 4));
            steps.push((what, ""));
            continue;
        }
        let length = random.random_range(1..6);
        let bytes = (rest.char_indices().nth(length)).map_or(rest.len(), |(at, _)| at);
        let (over, after) = rest.split_at(bytes);
        rest = after;
        steps.push((what, over));
    }
    let mut inserted = inserted.iter();
    let components = steps.iter().map(|(what, over)| {
        let length = over.chars().count() as u32;
        match what {
            0 | 1 => Component::insert(inserted.next().unwrap()),
            2 => Component::delete(length),
            3 => Component::delete_text(over),
            _ => Component::skip(length),
        }
    });
    Operation::from_components(components).unwrap()
}

fn question(random: &mut StdRng) -> Question {
    let text = random_text(random, 30);
    let [a, b] = [(); 2].map(|()| random_operation(random, &text));
    let mut changed = Content::from(text.as_str());
    changed.apply(&a).unwrap();
    let next = random_operation(random, &changed.to_string());
    let positions = [(); 3].map(|()| random.random_range(0..=text.chars().count() as u32));
    Question {
        text,
        a,
        b,
        next,
        positions,
    }
}

fn own_answer(question: &Question) -> Answer {
    let Question { a, b, next, .. } = question;
    let content = Content::from(question.text.as_str());
    let mut applied = content.clone();
    applied.apply(a).unwrap();
    let invertible = a.make_invertible(&content).unwrap();
    Answer {
        applied: applied.to_string(),
        a_left: a.transform(b, Side::Left).unwrap(),
        a_right: a.transform(b, Side::Right).unwrap(),
        b_left: b.transform(a, Side::Left).unwrap(),
        b_right: b.transform(a, Side::Right).unwrap(),
        composed: a.compose(next).unwrap(),
        positions: question.positions.map(|at| transform_position(at, a)),
        inverted: invertible.invert().unwrap(),
        invertible,
        stripped: a.clone().strip_invertible(),
    }
}

#[test]
fn random_operations_come_out_as_in_ot_text_unicode() {
    const BATCH: u64 = 250;
    let seed = from_environment("TEXT_SEED", 1);
    let triples = from_environment("TEXT_TRIPLES", 20_000);
    let mut random = StdRng::seed_from_u64(seed);
    let mut oracle = Oracle::start(&["answer"]);
    let mut compared = 0;
    while compared < triples {
        let questions: Vec<Question> = (0..BATCH).map(|_| question(&mut random)).collect();
        oracle.write(&questions);
        // The operations are compared as they are written, so that reading cannot make two of them alike.
        let theirs = oracle.line();
        let own: Vec<Answer> = questions.iter().map(own_answer).collect();
        if serde_json::to_string(&own).unwrap() != theirs.trim_end() {
            let theirs: Vec<Answer> = serde_json::from_str(&theirs).unwrap();
            for ((question, own), theirs) in questions.iter().zip(&own).zip(&theirs) {
                let question = serde_json::to_string(question).unwrap();
                assert_eq!(own, theirs, "own, oracle's; seed {seed}: {question}");
            }
            panic!("seed {seed}: equal when read, written differently");
        }
        compared += BATCH;
    }
    println!("{compared} triples, seed {seed}: all alike");
}

#[derive(Deserialize)]
struct Call<'a> {
    call: &'a str,
    #[serde(borrow)]
    values: Vec<&'a RawValue>,
}

fn read<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(json.get()).map_err(|error| error.to_string())
}

fn called(call: &str, values: &[&RawValue]) -> Result<serde_json::Value, String> {
    let operation = |index: usize| read::<Operation>(values[index]);
    let result = match call {
        "apply" => {
            let mut content = Content::from(read::<String>(values[0])?.as_str());
            let applied = content.apply(&operation(1)?);
            return match applied {
                Ok(()) => Ok(content.to_string().into()),
                Err(error) => Err(error.to_string()),
            };
        }
        "transform" => {
            let side = match read::<&str>(values[2])? {
                "left" => Side::Left,
                "right" => Side::Right,
                other => return Err(format!("no side {other}")),
            };
            operation(0)?.transform(&operation(1)?, side)
        }
        "compose" => operation(0)?.compose(&operation(1)?),
        "invert" => operation(0)?.invert(),
        "makeInvertible" => {
            let content = Content::from(read::<String>(values[1])?.as_str());
            operation(0)?.make_invertible(&content)
        }
        other => return Err(format!("no call {other}")),
    };
    let result = result.map_err(|error| error.to_string())?;
    serde_json::to_value(result).map_err(|error| error.to_string())
}

#[test]
fn ot_fuzzer_finds_nothing() {
    let rounds = from_environment("TEXT_FUZZ_ROUNDS", 1_000);
    let mut oracle = Oracle::start(&["fuzz", &rounds.to_string()]);
    let done = loop {
        let line = oracle.line();
        let Ok(Call { call, values }) = serde_json::from_str(&line) else {
            break line;
        };
        match called(call, &values) {
            Ok(ok) => oracle.write(&serde_json::json!({ "ok": ok })),
            Err(error) => oracle.write(&serde_json::json!({ "error": error })),
        }
    };
    let asked: serde_json::Value = serde_json::from_str(&done).unwrap();
    println!("{rounds} rounds of ot-fuzzer: {done}");
    for call in ["apply", "transform", "compose", "invert", "makeInvertible"] {
        let times = asked["done"][call].as_u64().unwrap();
        assert!(times >= rounds, "{call} was asked for {times} times");
    }
}

//! Offers and answers.

use crate::websocket::deflate::{AnswerError, Direction, Negotiated, Offer, negotiate};
use proptest::prelude::*;

const ALONE: Direction = Direction {
    window_bits: 15,
    takeover: false,
};
const KEPT: Direction = Direction {
    window_bits: 15,
    takeover: true,
};

/// The answer to offers, and what holds then; without context takeover unless `takeover`.
fn answer(offers: &[&str], takeover: bool) -> Option<(String, Negotiated)> {
    let agreement = negotiate(offers.iter().copied(), takeover)?;
    let mut text = Vec::new();
    agreement.write(&mut text);
    Some((String::from_utf8(text).unwrap(), agreement.negotiated))
}

const NEITHER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn contexts_are_ruled_out_unless_they_are_wanted() {
    let alone = Negotiated {
        send: ALONE,
        receive: ALONE,
    };
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=15",
        "permessage-deflate ;\tserver_no_context_takeover ; client_no_context_takeover",
    ] {
        assert_eq!(answer(&[offer], false), Some((NEITHER.into(), alone)));
    }
    for (offer, expected, send, receive) in [
        ("permessage-deflate", "permessage-deflate", KEPT, KEPT),
        (
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
            ALONE,
            KEPT,
        ),
        (
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
            KEPT,
            ALONE,
        ),
    ] {
        let negotiated = Negotiated { send, receive };
        assert_eq!(
            answer(&[offer], true),
            Some((expected.into(), negotiated)),
            "{offer}"
        );
    }
}

#[test]
fn every_window_can_be_asked_for() {
    for bits in 8..=15 {
        let offer = format!(
            "permessage-deflate; server_max_window_bits={bits}; client_max_window_bits={bits}"
        );
        let (text, negotiated) = answer(&[&offer], false).unwrap();
        // What the server was asked for it must confirm; the client is not asked for less.
        assert_eq!(text, format!("{NEITHER}; server_max_window_bits={bits}"));
        assert_eq!(negotiated.send.window_bits, bits);
        assert_eq!(negotiated.receive.window_bits, bits);
    }
}

#[test]
fn the_first_offer_that_can_be_taken_is() {
    let (text, _) = answer(
        &[
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate",
        ],
        false,
    )
    .unwrap();
    assert_eq!(text, format!("{NEITHER}; server_max_window_bits=10"));
}

/// An extension header made to confuse: declined, and nothing panics.
#[test]
fn attack_odd_extension_header() {
    for offer in [
        "",
        ";",
        "=",
        "constructor",
        "__proto__",
        "Permessage-Deflate",
        "permessage-deflate-2",
        "permessage-bzip2",
        "permessage-deflate;",
        "permessage-deflate; ;",
        "permessage-deflate; =",
        "permessage-deflate; constructor",
        "permessage-deflate; constructor=1",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=-8",
        "permessage-deflate; server_max_window_bits=1e1",
        "permessage-deflate; server_max_window_bits=265",
        "permessage-deflate; server_max_window_bits=99999999999999999999",
        "permessage-deflate; server_max_window_bits=\"10\"",
        "permessage-deflate; client_max_window_bits=\"10\"",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover=",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    ] {
        assert_eq!(answer(&[offer], false), None, "{offer}");
        // Declined alone; the next one is still taken.
        assert!(answer(&[offer, "permessage-deflate"], false).is_some());
    }
}

fn check(takeover: bool, answer: &[&str]) -> Result<Option<Negotiated>, AnswerError> {
    Offer { takeover }.check(answer.iter().copied())
}

#[test]
fn a_client_takes_only_an_answer_to_its_offer() {
    assert_eq!(check(false, &[]), Ok(None));
    let alone = Negotiated {
        send: ALONE,
        receive: ALONE,
    };
    assert_eq!(check(false, &[NEITHER]), Ok(Some(alone)));
    // It keeps no context to send with, whatever the server could take; but the server must confirm that it keeps none.
    let confirmed = "permessage-deflate; server_no_context_takeover";
    assert_eq!(check(false, &[confirmed]), Ok(Some(alone)));
    let kept = Negotiated {
        send: KEPT,
        receive: KEPT,
    };
    assert_eq!(check(true, &["permessage-deflate"]), Ok(Some(kept)));
    let smaller = "permessage-deflate; client_max_window_bits=10; server_max_window_bits=9";
    let negotiated = check(true, &[smaller]).unwrap().unwrap();
    assert_eq!(negotiated.send.window_bits, 10);
    assert_eq!(negotiated.receive.window_bits, 9);

    for answer in [
        &["permessage-bzip2"][..],
        &[NEITHER, NEITHER],
        &[NEITHER, "x"],
    ] {
        assert_eq!(check(false, answer), Err(AnswerError::NotOffered));
    }
    for answer in [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover; x",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=16",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ] {
        assert_eq!(
            check(false, &[answer]),
            Err(AnswerError::Parameters),
            "{answer}"
        );
    }
}

#[test]
fn our_client_and_our_server_agree() {
    for (offered, wanted) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut offer = Vec::new();
        Offer { takeover: offered }.write(&mut offer);
        let (text, server) = answer(&[str::from_utf8(&offer).unwrap()], wanted).unwrap();
        let client = check(offered, &[&text]).unwrap().unwrap();
        assert_eq!((client.send, client.receive), (server.receive, server.send));
        assert_eq!(client.send.takeover, offered && wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_header_panics(element in "(permessage-deflate)?([;=\", \ta-z_0-9]|server_max_window_bits|client_max_window_bits|=1[0-9]){0,12}") {
        let agreement = negotiate([element.as_str()], true);
        if let Some(agreement) = agreement {
            for direction in [agreement.negotiated.send, agreement.negotiated.receive] {
                prop_assert!((8..=15).contains(&direction.window_bits));
            }
        }
        let _ = Offer::default().check([element.as_str()]);
    }
}

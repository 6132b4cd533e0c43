//! What looks at files mean, one after the other. With real handshakes: `tests/tls`.

use super::*;

fn pair() -> Pair {
    use rustls::pki_types::PrivateKeyDer;
    let made = rcgen::generate_simple_self_signed(["hub.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Pair::new(vec![made.cert.der().clone()], key).unwrap()
}

struct Looks {
    in_use: Option<Fingerprint>,
    seen: Option<Result<Fingerprint, String>>,
    taken: usize,
}

impl Looks {
    fn look(&mut self, read: Result<u8, &str>, is_asked: bool) -> Exchange {
        let read = match read {
            Ok(content) => Ok((pair(), [content; 32])),
            Err(problem) => Err(problem.to_owned()),
        };
        let taken = &mut self.taken;
        take_files(read, &mut self.in_use, &mut self.seen, is_asked, |_| {
            *taken += 1;
        })
    }
}

#[test]
fn a_change_counts_when_it_is_seen_twice_or_asked_for() {
    let mut looks = Looks {
        in_use: Some([1; 32]),
        seen: None,
        taken: 0,
    };
    let failed = |problem: &str| Exchange::Failed(problem.to_owned());
    for (read, is_asked, expected) in [
        (Ok(1), false, Exchange::Same),
        // Half of a change, then all of it.
        (Err("half"), false, Exchange::Same),
        (Ok(2), false, Exchange::Same),
        (Ok(2), false, Exchange::New),
        (Ok(2), false, Exchange::Same),
        // Changed and changed back.
        (Ok(3), false, Exchange::Same),
        (Ok(2), false, Exchange::Same),
        (Ok(3), false, Exchange::Same),
        // What stays wrong is told.
        (Err("wrong"), false, Exchange::Same),
        (Err("wrong"), false, failed("wrong")),
        (Err("wrong"), false, failed("wrong")),
        (Err("worse"), true, failed("worse")),
        (Ok(4), true, Exchange::New),
        (Ok(4), true, Exchange::Same),
    ] {
        assert_eq!(looks.look(read, is_asked), expected, "{read:?} {is_asked}");
    }
    assert_eq!((looks.taken, looks.in_use), (2, Some([4; 32])));
}

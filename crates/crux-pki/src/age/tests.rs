use super::*;

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

/// Cheap to try, as nothing that is kept should be.
fn seal(lock: &Lock, content: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::with_work(Vec::new(), lock, 4).unwrap();
    sealer.write_all(content).unwrap();
    sealer.finish().unwrap()
}

fn open(file: &[u8], unlock: &Unlock) -> Result<Vec<u8>, AgeError> {
    let mut content = Vec::new();
    let (mut opener, _) = Opener::new(file, unlock)?;
    opener.read_to_end(&mut content).map_err(|e| match e.downcast::<AgeError>() {
        Ok(error) => error,
        Err(error) => AgeError::Io(error),
    })?;
    Ok(content)
}

#[test]
fn what_was_sealed_is_opened_by_its_passphrase_or_its_key_and_by_no_other() {
    let (ann, bob, eve) = (Key::generate().unwrap(), Key::generate().unwrap(), Key::generate().unwrap());
    let both = Lock::For([&ann, &bob].map(|key| key.recipient().unwrap()).into());
    let by_word = Lock::Passphrase(secret("correct horse"));
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
        let content: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        let (for_both, locked) = (seal(&both, &content), seal(&by_word, &content));
        let copy = |key: &Key| Key::parse_all(&key.text()).unwrap();
        for key in [&ann, &bob] {
            assert_eq!(open(&for_both, &Unlock::Keys(copy(key))).unwrap(), content, "{size}");
        }
        assert_eq!(open(&locked, &Unlock::Passphrase(secret("correct horse"))).unwrap(), content, "{size}");
        assert!(matches!(open(&for_both, &Unlock::Keys(copy(&eve))), Err(AgeError::OtherKey)));
        assert!(matches!(open(&locked, &Unlock::Passphrase(secret("wrong"))), Err(AgeError::Passphrase)));
        assert!(matches!(open(&locked, &Unlock::Keys(copy(&ann))), Err(AgeError::NeedsPassphrase)));
        assert!(matches!(open(&for_both, &Unlock::Passphrase(secret("x"))), Err(AgeError::NeedsKey)));
        let (_, key) = Opener::new(&locked[..], &Unlock::Passphrase(secret("correct horse"))).unwrap();
        let mut again = Vec::new();
        Opener::again(&locked[..], &key).unwrap().read_to_end(&mut again).unwrap();
        assert_eq!(again, content);
    }
}

#[test]
fn every_flipped_bit_and_every_missing_end_is_noticed() {
    let key = Key::generate().unwrap();
    let file = seal(&Lock::For(vec![key.recipient().unwrap()]), &[5; 300]);
    let unlock = Unlock::Keys(vec![key]);
    assert_eq!(open(&file, &unlock).unwrap(), [5; 300]);
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            let opened = open(&damaged, &unlock);
            assert!(opened.is_err(), "byte {at} bit {bit}");
        }
    }
    for end in 0..file.len() {
        assert!(open(&file[..end], &unlock).is_err(), "{end}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(open(&longer, &unlock).is_err());
}

#[test]
fn chunks_cannot_be_left_out_moved_or_said_to_be_the_last() {
    let key = Key::generate().unwrap();
    let file = seal(&Lock::For(vec![key.recipient().unwrap()]), &vec![5; 3 * CHUNK]);
    let unlock = Unlock::Keys(vec![key]);
    let start = file.len() - 3 * (CHUNK + TAG);
    let chunk = |n: usize| &file[start + n * (CHUNK + TAG)..start + (n + 1) * (CHUNK + TAG)];
    let of = |chunks: &[&[u8]]| [&file[..start], &chunks.concat()].concat();
    assert!(open(&of(&[chunk(0), chunk(1), chunk(2)]), &unlock).is_ok());
    let cut = open(&of(&[chunk(0), chunk(1)]), &unlock);
    assert!(matches!(cut, Err(AgeError::Truncated(at)) if at == CHUNK as u64), "{cut:?}");
    assert!(matches!(open(&of(&[chunk(0), chunk(2)]), &unlock), Err(AgeError::Damaged(_))));
    assert!(matches!(open(&of(&[chunk(1), chunk(0), chunk(2)]), &unlock), Err(AgeError::Damaged(0))));
    assert!(matches!(open(&of(&[chunk(0), chunk(1), &chunk(2)[..99]]), &unlock), Err(AgeError::Damaged(_))));
    assert!(open(&of(&[chunk(0), chunk(1), chunk(2), chunk(2)]), &unlock).is_err());
}

/// Made by age 1.1.1: `age-keygen`, `age -r`, and `age -p` with the passphrase `swordfish`. The content is `well met\n`.
#[test]
fn what_age_itself_wrote_is_opened() {
    let fixture = |text: &str| base64ct::Base64::decode_vec(&text.replace(['\n', ' '], "")).unwrap();
    let key = Key::parse_all(include_str!("fixtures/key.txt")).unwrap();
    assert_eq!(key[0].recipient().unwrap().to_string(), include_str!("fixtures/recipient.txt").trim());
    let for_key = fixture(include_str!("fixtures/for-key.b64"));
    assert_eq!(open(&for_key, &Unlock::Keys(key)).unwrap(), b"well met\n");
    let locked = fixture(include_str!("fixtures/passphrase.b64"));
    assert_eq!(open(&locked, &Unlock::Passphrase(secret("swordfish"))).unwrap(), b"well met\n");
    assert!(matches!(open(&locked, &Unlock::Passphrase(secret("Swordfish"))), Err(AgeError::Passphrase)));
}

#[test]
fn what_would_cost_too_much_or_breaks_the_form_is_refused_at_once() {
    let word = || Unlock::Passphrase(secret("x"));
    let header = |stanza: &str| format!("{INTRO}\n{stanza}--- AAAA\n").into_bytes();
    let salt = Base64Unpadded::encode_string(&[1; 16]);
    // As long as a wrapped key is, so that nothing is refused for that.
    let body = "A".repeat(43);
    assert!(matches!(open(&header(&format!("-> scrypt {salt} 60\n{body}\n")), &word()), Err(AgeError::Work(60))));
    assert!(matches!(open(&header(&format!("-> scrypt {salt} 4\n{body}\n")), &word()), Err(AgeError::Passphrase)));
    for stanza in [
        format!("-> scrypt {salt}\n{body}\n"),
        format!("-> scrypt {salt} 04\n{body}\n"),
        format!("-> scrypt {salt} 0\n{body}\n"),
        format!("-> scrypt {salt}AA 4\n{body}\n"),
        format!("-> scrypt {salt} 4\nA=\n"),
        format!("-> scrypt {salt} 4\n{}\n", "A".repeat(72)),
        format!("-> scrypt {salt} 4\n{body}\n-> scrypt {salt} 4\n{body}\n"),
        format!("-> scrypt {salt} 4\n{body}\n").replace("-> ", "=> "),
        "-> x\n\n".repeat(STANZAS_MAX + 1) + &format!("-> scrypt {salt} 4\n{body}\n"),
        "-> x\n".to_owned() + &format!("{}\n", "A".repeat(64)).repeat(1_000),
    ] {
        let opened = open(&header(&stanza), &word());
        assert!(matches!(opened, Err(AgeError::Header(_))), "{stanza}: {opened:?}");
    }
    for other in [&b""[..], b"age", b"age-encryption.org/v2\n-> x\n\n--- AA\n", &[0x1f, 0x8b, 8, 0]] {
        assert!(matches!(open(other, &word()), Err(AgeError::NotAge)));
    }
    for text in ["", "age1", "AGE-SECRET-KEY-1XX", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q"] {
        assert!(Recipient::parse(text).is_err(), "{text}");
        assert!(Key::parse_all(text).is_err(), "{text}");
    }
    let key = Key::generate().unwrap();
    let recipient = key.recipient().unwrap();
    assert_eq!(Recipient::parse(&recipient.to_string()), Ok(recipient));
    assert!(!format!("{key:?}").contains(&key.text()[20..]));
}

/// A file for this key with these stanzas before its own, under a MAC that is right: what is refused is the form.
fn with_stanzas(key: &Key, before: &str) -> Vec<u8> {
    let plain = seal(&Lock::For(vec![key.recipient().unwrap()]), b"well met");
    let Header { stanzas, .. } = read_header(&mut &plain[..]).unwrap();
    let file_key = file_key(&stanzas, &Unlock::Keys(Key::parse_all(&key.text()).unwrap())).unwrap();
    let end = plain.windows(4).position(|four| four == b"\n---").unwrap() + 1;
    let own = std::str::from_utf8(&plain[INTRO.len() + 1..end]).unwrap();
    let header = format!("{INTRO}\n{before}{own}---");
    let mac = Base64Unpadded::encode_string(mac(&file_key, header.as_bytes()).as_ref());
    let payload = &plain[end + "--- ".len() + 43 + 1..];
    [format!("{header} {mac}\n").as_bytes(), payload].concat()
}

#[test]
fn a_stanza_of_a_kind_that_is_not_known_is_passed_over_only_if_it_has_the_form_of_one() {
    let key = Key::generate().unwrap();
    let opened = |before: &str| {
        let unlock = Unlock::Keys(Key::parse_all(&key.text()).unwrap());
        open(&with_stanzas(&key, before), &unlock)
    };
    for known in ["", "-> later one two!~\n\n", "-> x25519 AAAA\nAAAA\n"] {
        assert_eq!(opened(known).unwrap(), b"well met", "{known:?}");
    }
    for arguments in
        ["", " ", "later ", "later  two", " later", "l\u{e4}ter", "later \u{7f}", "later a\tb", "later a\r"]
    {
        let refused = opened(&format!("-> {arguments}\n\n"));
        assert!(matches!(refused, Err(AgeError::Header(_))), "{arguments:?}: {refused:?}");
    }
}

#[test]
fn a_wrapped_key_of_another_length_is_refused_before_it_is_decrypted() {
    let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
    let (share, salt) = (other.recipient().unwrap().0, Base64Unpadded::encode_string(&[1; 16]));
    let share = Base64Unpadded::encode_string(&share);
    // One key that fits opens it: that another stanza's key is too short or too long is an error of the header all the same.
    for length in [0, 1, 31, 33, 48] {
        let body = Base64Unpadded::encode_string(&vec![7; length]);
        let body = format!("{body}\n{}", if body.len() == COLUMNS { "\n" } else { "" });
        let unlock = Unlock::Keys(Key::parse_all(&key.text()).unwrap());
        let refused = open(&with_stanzas(&key, &format!("-> X25519 {share}\n{body}")), &unlock);
        assert!(matches!(refused, Err(AgeError::Header(_))), "{length}: {refused:?}");
        let locked = format!("{INTRO}\n-> scrypt {salt} 4\n{body}--- AAAA\n");
        let refused = open(locked.as_bytes(), &Unlock::Passphrase(secret("x")));
        assert!(matches!(refused, Err(AgeError::Header(_))), "{length}: {refused:?}");
    }
    let unlock = Unlock::Keys(Key::parse_all(&key.text()).unwrap());
    let whole = with_stanzas(&key, &format!("-> X25519 {share}\n{}\n", "A".repeat(43)));
    assert_eq!(open(&whole, &unlock).unwrap(), b"well met", "one of the right length is another's");
}

#[test]
fn a_key_has_one_spelling_so_its_padding_is_zero() {
    use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
    let spelt = |hrp: &str, padding: u8| {
        let mut symbols: Vec<bech32::Fe32> = [9_u8; 32].into_iter().bytes_to_fes().collect();
        let last = symbols.pop().unwrap();
        symbols.push(bech32::Fe32::try_from(last.to_u8() | padding).unwrap());
        let hrp = Hrp::parse(hrp).unwrap();
        symbols.into_iter().with_checksum::<Bech32>(&hrp).chars().collect::<String>()
    };
    assert!(Recipient::parse(&spelt(PUBLIC, 0)).is_ok() && Key::parse_all(&spelt(SECRET, 0)).is_ok());
    // 32 bytes are 51 symbols and one bit: four bits of the last say nothing.
    for padding in 1..16 {
        assert_eq!(Recipient::parse(&spelt(PUBLIC, padding)), Err(BadKey::Public), "{padding}");
        assert_eq!(Key::parse_all(&spelt(SECRET, padding)).err(), Some(BadKey::Secret), "{padding}");
    }
}

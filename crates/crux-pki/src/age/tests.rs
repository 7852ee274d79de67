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
    assert!(matches!(open(&header(&format!("-> scrypt {salt} 60\nAA\n")), &word()), Err(AgeError::Work(60))));
    for stanza in [
        format!("-> scrypt {salt}\nAA\n"),
        format!("-> scrypt {salt} 04\nAA\n"),
        format!("-> scrypt {salt} 0\nAA\n"),
        format!("-> scrypt {salt}AA 4\nAA\n"),
        format!("-> scrypt {salt} 4\nA=\n"),
        format!("-> scrypt {salt} 4\n{}\n", "A".repeat(72)),
        format!("-> scrypt {salt} 4\nAA\n-> scrypt {salt} 4\nAA\n"),
        format!("-> scrypt {salt} 4\nAA\n").replace("-> ", "=> "),
        "-> x\n\n".repeat(STANZAS_MAX + 1) + &format!("-> scrypt {salt} 4\nAA\n"),
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

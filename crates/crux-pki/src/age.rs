//! Files that only who knows the passphrase, or has the key, can read: the age format, version 1
//! (<https://c2sp.org/age>), so that a backup can be opened without crux, by `age` itself.
//!
//! Two of its recipients are known here: a passphrase (`scrypt`) and a key that `age-keygen` makes (`X25519`). All of the
//! cryptography is the workspace's one library, but for scrypt, which that does not offer.
//!
//! ```text
//! age-encryption.org/v1
//! -> scrypt SALT LOG-N          how the file key is found
//! WRAPPED-FILE-KEY
//! --- MAC                       of all of the header
//! nonce, then chunks of 64 KiB, each sealed with its number and whether it is the last
//! ```
//! So a bit that was flipped, a chunk that is missing or moved and an end that was cut off are all noticed, each before
//! the bytes are handed out.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::{constant_time, hkdf, hmac, rand};
use base64ct::{Base64Unpadded, Encoding as _};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use std::io::{self, Read, Write};
use thiserror::Error;
use zeroize::Zeroizing;

const INTRO: &str = "age-encryption.org/v1";
const SCRYPT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
/// Bytes of a chunk before it is sealed.
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
/// Log 2 of scrypt's cost for what is written here: about a second and 256 MiB, as `age` has it.
const WORK: u8 = 18;
/// The most that is done for what somebody else wrote: four seconds and 1 GiB.
const WORK_MAX: u8 = 20;
/// Largest header that is looked at.
const HEADER_MAX: usize = 64 * 1024;
/// Most recipients of a file.
const STANZAS_MAX: usize = 64;
/// Bytes of a wrapped file key: 16 and their tag.
const WRAPPED: usize = 16 + TAG;
/// Columns of a line of base64 in a header.
const COLUMNS: usize = 64;
/// What public keys and secret ones begin with.
const PUBLIC: &str = "age";
const SECRET: &str = "age-secret-key-";

/// Why a file cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AgeError {
    /// It is something else.
    #[error("it is no file that was encrypted with age, as backups are")]
    NotAge,
    /// Its header breaks the form, or its MAC is wrong.
    #[error("its header is damaged ({0})")]
    Header(&'static str),
    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// The keys given do not open it.
    #[error("it was encrypted for another key than the one that was given")]
    OtherKey,
    /// A passphrase opens it, and a key was given.
    #[error("it was encrypted with a passphrase, and a key was given")]
    NeedsPassphrase,
    /// A key opens it, and a passphrase was given.
    #[error("it was encrypted for a key, and a passphrase was given")]
    NeedsKey,
    /// Its passphrase would take too much time and memory to try.
    #[error("its passphrase would cost 2^{0} steps to try, and at most 2^{WORK_MAX} are made")]
    Work(u8),
    /// A chunk is not what was written.
    #[error("it is damaged at byte {0} of its content, or cut off there")]
    Damaged(u64),
    /// Its end is missing.
    #[error("its end is missing: it has {0} bytes of content and should go on")]
    Truncated(u64),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes; look at its log")]
    Random,
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<AgeError> for io::Error {
    fn from(error: AgeError) -> Self {
        match error {
            AgeError::Io(error) => error,
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// A text that is no key of the kind that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadKey {
    /// It is no public key.
    #[error("it is no public key of age, which begins with age1; age-keygen makes one")]
    Public,
    /// It is no secret key.
    #[error("it holds no secret key of age, which begins with AGE-SECRET-KEY-1")]
    Secret,
}

/// For whom a file is encrypted: a public key, `age1…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// Reads `age1…`.
    ///
    /// # Errors
    /// [`BadKey::Public`].
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        key_in(text, PUBLIC).map(|key| Self(*key)).ok_or(BadKey::Public)
    }
}

/// A secret key: what opens what was encrypted for its [`Recipient`].
pub struct Key(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// [`AgeError::Random`].
    pub fn generate() -> Result<Self, AgeError> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// The keys in a file as `age-keygen` writes it: one a line, and comments.
    ///
    /// # Errors
    /// [`BadKey::Secret`] if there is none, or a line is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, BadKey> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|line| key_in(line, SECRET).map(Self).ok_or(BadKey::Secret));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(BadKey::Secret) } else { Ok(keys) }
    }

    /// Its text, `AGE-SECRET-KEY-1…`.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(bech(SECRET, &*self.0).to_uppercase())
    }

    /// Whom one encrypts for so that this key opens it.
    ///
    /// # Errors
    /// [`AgeError::Header`] if the bytes are no key, which no random ones are not.
    pub fn recipient(&self) -> Result<Recipient, AgeError> {
        Ok(Recipient(public_of(&private(&self.0)?)?))
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&bech(PUBLIC, &self.0))
    }
}

/// The 32 bytes of a bech32 text with this beginning.
fn key_in(text: &str, hrp: &str) -> Option<Zeroizing<[u8; 32]>> {
    let checked = CheckedHrpstring::new::<Bech32>(text).ok()?;
    if !checked.hrp().as_str().eq_ignore_ascii_case(hrp) {
        return None;
    }
    // The bits after the last byte are zero (BIP 173, whose rule it is for all data): a key has one spelling.
    checked.validate_segwit_padding().ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let mut bytes = checked.byte_iter();
    for (place, byte) in key.iter_mut().zip(bytes.by_ref()) {
        *place = byte;
    }
    (checked.byte_iter().len() == key.len()).then_some(key)
}

fn bech(hrp: &str, bytes: &[u8]) -> String {
    // Both words are ours and 32 bytes fit.
    Hrp::parse(hrp).ok().and_then(|hrp| bech32::encode::<Bech32>(hrp, bytes).ok()).unwrap_or_default()
}

/// How a file is locked.
pub enum Lock {
    /// By a passphrase.
    Passphrase(Zeroizing<String>),
    /// For these keys: each of them opens it.
    For(Vec<Recipient>),
}

/// What opens it.
pub enum Unlock {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// Any of these keys.
    Keys(Vec<Key>),
}

fn random<const N: usize>() -> Result<[u8; N], AgeError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| AgeError::Random)?;
    Ok(bytes)
}

fn derive(secret: &[u8], salt: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let labels = [label];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    // 32 bytes are one block of the hash.
    let filled = prk.expand(&labels, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *key));
    debug_assert!(filled.is_ok(), "HKDF gives one block");
    key
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, AgeError> {
    // Only a key of another length is refused.
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| AgeError::Header("no key"))
}

fn private(bytes: &[u8; 32]) -> Result<PrivateKey, AgeError> {
    PrivateKey::from_private_key(&X25519, bytes).map_err(|_| AgeError::Header("no X25519 key"))
}

fn public_of(key: &PrivateKey) -> Result<[u8; 32], AgeError> {
    let public = key.compute_public_key().map_err(|_| AgeError::Header("no X25519 key"))?;
    public.as_ref().try_into().map_err(|_| AgeError::Header("no X25519 key"))
}

/// The key that wraps the file key for a recipient.
fn shared(key: &PrivateKey, theirs: &[u8; 32], share: &[u8; 32], public: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let salt = [&share[..], public].concat();
    let peer = UnparsedPublicKey::new(&X25519, theirs);
    agree(key, peer, (), |secret| Ok(derive(secret, &salt, X25519_LABEL))).ok()
}

fn stretch(passphrase: &str, salt: &[u8; 16], work: u8) -> Result<Zeroizing<[u8; 32]>, AgeError> {
    let params = scrypt::Params::new(work, 8, 1, 32).map_err(|_| AgeError::Header("its work factor is none"))?;
    let mut key = Zeroizing::new([0; 32]);
    let salt = [SCRYPT_LABEL, salt].concat();
    scrypt::scrypt(passphrase.as_bytes(), &salt, &params, &mut *key).map_err(|_| AgeError::Header("no key"))?;
    Ok(key)
}

/// A key is used once, so its nonce may be zero.
fn wrap(key: &[u8; 32], file_key: &[u8; 16]) -> Result<Vec<u8>, AgeError> {
    let mut bytes = file_key.to_vec();
    let sealed = cipher(key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes);
    sealed.map_err(|_| AgeError::Header("no key"))?;
    Ok(bytes)
}

/// Of another length nothing is decrypted: a longer text might be one that opens with many keys (the specification has it
/// refused by its length, before, and as an error of the header).
fn wrapped(body: &[u8]) -> Result<&[u8; WRAPPED], AgeError> {
    body.try_into().map_err(|_| AgeError::Header("a wrapped key has another length"))
}

fn unwrap(key: &[u8; 32], wrapped: &[u8; WRAPPED]) -> Option<Zeroizing<[u8; 16]>> {
    let mut bytes = Zeroizing::new(wrapped.to_vec());
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let open = cipher(key).ok()?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
    Some(Zeroizing::new((*open).try_into().ok()?))
}

fn mac(file_key: &[u8; 16], header: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*derive(file_key, &[], b"header")), header)
}

/// The nonce of a chunk: its number and whether it is the last.
fn chunk_nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// Encrypts what is written to it. Nothing that was written is a file before [`Sealer::finish`].
pub struct Sealer<W> {
    out: W,
    key: LessSafeKey,
    number: u64,
    chunk: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`AgeError::Random`], [`AgeError::Io`].
    pub fn new(out: W, lock: &Lock) -> Result<Self, AgeError> {
        Self::with_work(out, lock, WORK)
    }

    /// As [`Sealer::new`], with another cost of trying a passphrase: log 2 of scrypt's N. For tests.
    ///
    /// # Errors
    /// As [`Sealer::new`].
    pub fn with_work(mut out: W, lock: &Lock, work: u8) -> Result<Self, AgeError> {
        let file_key = Zeroizing::new(random::<16>()?);
        let mut header = format!("{INTRO}\n");
        let mut stanza = |arguments: String, body: Vec<u8>| {
            // A wrapped key is shorter than a line.
            header += &format!("-> {arguments}\n{}\n", Base64Unpadded::encode_string(&body));
        };
        match lock {
            Lock::Passphrase(passphrase) => {
                let salt = random()?;
                let key = stretch(passphrase, &salt, work)?;
                stanza(format!("scrypt {} {work}", Base64Unpadded::encode_string(&salt)), wrap(&key, &file_key)?);
            }
            Lock::For(recipients) => {
                for Recipient(public) in recipients {
                    let ours = private(&Zeroizing::new(random()?))?;
                    let share = public_of(&ours)?;
                    let key = shared(&ours, public, &share, public).ok_or(AgeError::Header("no X25519 key"))?;
                    stanza(format!("X25519 {}", Base64Unpadded::encode_string(&share)), wrap(&key, &file_key)?);
                }
            }
        }
        header += "---";
        let mac = mac(&file_key, header.as_bytes());
        let nonce = random::<16>()?;
        out.write_all(format!("{header} {}\n", Base64Unpadded::encode_string(mac.as_ref())).as_bytes())?;
        out.write_all(&nonce)?;
        let key = cipher(&derive(&*file_key, &nonce, b"payload"))?;
        Ok(Self { out, key, number: 0, chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)) })
    }

    fn flush_chunk(&mut self, last: bool) -> io::Result<()> {
        let nonce = chunk_nonce(self.number, last);
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut *self.chunk);
        sealed.map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }

    /// Writes the end, and gives back where it was written to.
    ///
    /// # Errors
    /// Of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_chunk(true)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only when more follows it is known that a full chunk is not the last.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.flush_chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One way to the file key, as it stands in a header.
struct Stanza {
    arguments: Vec<String>,
    body: Vec<u8>,
}

/// A line without its end, no longer than what is left of the header; all that was read so far is in `header`.
fn line(input: &mut impl Read, header: &mut Vec<u8>) -> Result<String, AgeError> {
    let start = header.len();
    loop {
        let mut byte = [0];
        if input.read(&mut byte)? == 0 || header.len() >= HEADER_MAX {
            return Err(AgeError::Header("it has no end"));
        }
        header.push(byte[0]);
        if byte[0] == b'\n' {
            let text = std::str::from_utf8(&header[start..header.len() - 1]);
            return text.map(str::to_owned).map_err(|_| AgeError::Header("it is no text"));
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, AgeError> {
    Base64Unpadded::decode_vec(text).map_err(|_| AgeError::Header("a line is no base64"))
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], AgeError> {
    base64(text)?.try_into().map_err(|_| AgeError::Header("an argument has another length"))
}

/// A header: its stanzas, the bytes that its MAC covers, and the MAC.
struct Header {
    stanzas: Vec<Stanza>,
    covered: Vec<u8>,
    mac: Vec<u8>,
}

fn read_header(input: &mut impl Read) -> Result<Header, AgeError> {
    let mut header = Vec::new();
    let mut intro = vec![0; INTRO.len() + 1];
    // What is no such file need not have a line.
    input.read_exact(&mut intro).map_err(|_| AgeError::NotAge)?;
    if intro != format!("{INTRO}\n").as_bytes() {
        return Err(AgeError::NotAge);
    }
    header.append(&mut intro);
    let mut stanzas = Vec::new();
    loop {
        let start = header.len();
        let text = line(input, &mut header)?;
        if let Some(mac) = text.strip_prefix("--- ") {
            header.truncate(start + 3);
            return Ok(Header { stanzas, covered: header, mac: base64(mac)? });
        }
        let arguments = text.strip_prefix("-> ").ok_or(AgeError::Header("a stanza has no beginning"))?;
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        // Also those of a kind that is not known: a header has one reading (the specification's `1*VCHAR`).
        if arguments.iter().any(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(AgeError::Header("a word of a stanza is empty or no visible ASCII"));
        }
        let mut body = Vec::new();
        loop {
            let text = line(input, &mut header)?;
            body.extend(base64(&text)?);
            match text.len() {
                COLUMNS => {}
                0..COLUMNS => break,
                _ => return Err(AgeError::Header("a line is too long")),
            }
        }
        stanzas.push(Stanza { arguments, body });
        if stanzas.len() > STANZAS_MAX {
            return Err(AgeError::Header("it has too many recipients"));
        }
    }
}

/// The file key, by what was given.
fn file_key(stanzas: &[Stanza], unlock: &Unlock) -> Result<Zeroizing<[u8; 16]>, AgeError> {
    let kind = |stanza: &Stanza| stanza.arguments.first().cloned().unwrap_or_default();
    let by_passphrase = stanzas.iter().any(|stanza| kind(stanza) == "scrypt");
    match unlock {
        Unlock::Passphrase(_) if !by_passphrase => Err(AgeError::NeedsKey),
        Unlock::Keys(_) if by_passphrase => Err(AgeError::NeedsPassphrase),
        Unlock::Passphrase(passphrase) => {
            let [Stanza { arguments, body }] = stanzas else {
                return Err(AgeError::Header("beside a passphrase there is something else"));
            };
            let [_, salt, work] = &arguments[..] else { return Err(AgeError::Header("scrypt has two arguments")) };
            let plain = !work.starts_with('0') && work.bytes().all(|digit| digit.is_ascii_digit());
            let work = work.parse().ok().filter(|_| plain).ok_or(AgeError::Header("its work factor is none"))?;
            if work > WORK_MAX {
                return Err(AgeError::Work(work));
            }
            let (salt, wrapped) = (fixed(salt)?, wrapped(body)?);
            unwrap(&*stretch(passphrase, &salt, work)?, wrapped).ok_or(AgeError::Passphrase)
        }
        Unlock::Keys(keys) => {
            for stanza in stanzas.iter().filter(|stanza| kind(stanza) == "X25519") {
                let [_, share] = &stanza.arguments[..] else {
                    return Err(AgeError::Header("X25519 has one argument"));
                };
                let (share, wrapped) = (fixed(share)?, wrapped(&stanza.body)?);
                for Key(secret) in keys {
                    let ours = private(secret)?;
                    let key = shared(&ours, &share, &share, &public_of(&ours)?);
                    if let Some(file_key) = key.and_then(|key| unwrap(&key, wrapped)) {
                        return Ok(file_key);
                    }
                }
            }
            Err(AgeError::OtherKey)
        }
    }
}

/// Decrypts what is read from it. What it gives was written so; that nothing is missing at the end is known only when it
/// has given all.
pub struct Opener<R> {
    input: R,
    key: LessSafeKey,
    number: u64,
    chunk: Zeroizing<Vec<u8>>,
    given: usize,
    /// What was read of the next chunk, to know whether there is one.
    ahead: Vec<u8>,
    ended: bool,
}

/// How to open a file again without asking for the passphrase once more.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; 16]>);

impl<R: Read> Opener<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`AgeError`]: the first thing that is wrong.
    pub fn new(input: R, unlock: &Unlock) -> Result<(Self, FileKey), AgeError> {
        let mut found = None;
        let opener = Self::begin(input, |stanzas| {
            let key = file_key(stanzas, unlock)?;
            found = Some(FileKey(key.clone()));
            Ok(key)
        })?;
        let key = found.ok_or(AgeError::Header("it has no key"))?;
        Ok((opener, key))
    }

    /// The same file once more.
    ///
    /// # Errors
    /// As [`Opener::new`].
    pub fn again(input: R, key: &FileKey) -> Result<Self, AgeError> {
        Self::begin(input, |_| Ok(key.0.clone()))
    }

    fn begin(
        mut input: R,
        find: impl FnOnce(&[Stanza]) -> Result<Zeroizing<[u8; 16]>, AgeError>,
    ) -> Result<Self, AgeError> {
        let Header { stanzas, covered, mac: said } = read_header(&mut input)?;
        let file_key = find(&stanzas)?;
        if constant_time::verify_slices_are_equal(mac(&file_key, &covered).as_ref(), &said).is_err() {
            return Err(AgeError::Header("its MAC is wrong"));
        }
        let mut nonce = [0; 16];
        input.read_exact(&mut nonce).map_err(|_| AgeError::Truncated(0))?;
        let key = cipher(&derive(&*file_key, &nonce, b"payload"))?;
        let (chunk, ahead) = (Zeroizing::new(Vec::new()), Vec::new());
        Ok(Self { input, key, number: 0, chunk, given: 0, ahead, ended: false })
    }

    fn next_chunk(&mut self) -> Result<(), AgeError> {
        let at = self.number * CHUNK as u64;
        let mut sealed = std::mem::take(&mut self.ahead);
        let wanted = CHUNK + TAG + 1 - sealed.len();
        // One byte more tells that another chunk follows.
        self.input.by_ref().take(wanted as u64).read_to_end(&mut sealed)?;
        let last = sealed.len() <= CHUNK + TAG;
        if !last {
            self.ahead = sealed.split_off(CHUNK + TAG);
        }
        let open = |last: bool| {
            let mut chunk = Zeroizing::new(sealed.clone());
            let nonce = chunk_nonce(self.number, last);
            let length = self.key.open_in_place(nonce, Aad::empty(), &mut chunk).map(|open| open.len()).ok()?;
            chunk.truncate(length);
            Some(chunk)
        };
        let Some(chunk) = open(last) else {
            let cut = last && (sealed.is_empty() || open(false).is_some());
            return Err(if cut { AgeError::Truncated(at) } else { AgeError::Damaged(at) });
        };
        // Only a file without content ends with an empty chunk.
        if last && chunk.is_empty() && self.number > 0 {
            return Err(AgeError::Damaged(at));
        }
        (self.chunk, self.given, self.ended) = (chunk, 0, last);
        self.number += 1;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            if self.ended || to.is_empty() {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let taken = to.len().min(self.chunk.len() - self.given);
        to[..taken].copy_from_slice(&self.chunk[self.given..self.given + taken]);
        self.given += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;

//! The short run of every target: its corpus, its good inputs, and some thousand made from them.

use bytes::Bytes;
use crux_core::wire::{BadFrame, FRAME_MAX, Frame, INSTANCES_MAX, ITEMS_MAX};
use crux_fuzz::drive;
use crux_fuzz::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

macro_rules! short_runs {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                drive::short(&crux_fuzz::named(stringify!($name)).expect("a target of this name"));
            }
        )*

        #[test]
        fn every_target_has_its_test() {
            let tested = [$(stringify!($name)),*];
            let all: Vec<&str> = crux_fuzz::all().iter().map(|target| target.name).collect();
            assert_eq!(all, tested);
        }
    };
}

short_runs! {
    frame datagram view_header
    statement sealed_version fact_path fact_value
    names instance_id khan_program khan_set khan_condition khan_where policies why_subject
    certificate admission private_key certificates_pem archive bundle identity_uri chain ca_record age signed_fact
    hello welcome frame_length peer_words
    announcement probe_source probe_list book_row instance_log journal added_entries telling supervisor peer_part
    file_question file_answer health_answer dev_files lab_request api_query page_host store_file
    documents requests event_stream hex error_code duration resources manifest grpc backup
}

/// Every good input is one: a target whose seeds are all refused fuzzes nothing but its first check.
#[test]
fn seeds_and_corpora_belong_to_targets() {
    let root = drive::corpus_dir("");
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(crux_fuzz::named(&name).is_some(), "corpus/{name} is of no target");
    }
    for target in crux_fuzz::all() {
        assert!(!(target.seeds)().is_empty(), "{target:?} has no seeds");
    }
}

/// The counting allocator counts: a limit that cannot be broken limits nothing.
#[test]
fn memory_is_counted() {
    let held = crux_fuzz::memory::peak(|| drop(std::hint::black_box(vec![0_u8; 5 << 20])));
    assert!((5 << 20..6 << 20).contains(&held), "{held}");
    let greedy = drive::Target {
        run: |_| drop(std::hint::black_box(vec![0_u8; 64 << 20])),
        ..crux_fuzz::named("names").expect("a target")
    };
    assert!(drive::one(&greedy, b"x").unwrap_err().why.contains("it held"));
}

/// What one peer may make this fulcrum hold (promise D4): a frame of a mebibyte and all that it becomes.
const PEER: usize = 8 << 20;

fn field(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(tag.into(), prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

fn number(tag: u8, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::uint64::encode(tag.into(), &value, &mut bytes);
    bytes
}

/// A frame with these messages in one another around a body.
fn framed(path: &[u8], body: Vec<u8>) -> Bytes {
    path.iter().rev().fold(body, |body, tag| field(*tag, &body)).into()
}

/// What the reader holds at most, the frame with it, and what came of it.
fn held(frame: &Bytes) -> (usize, Result<(), BadFrame>) {
    let mut outcome = Ok(());
    let bloc = "acme".parse().expect("a bloc's name");
    let more = crux_fuzz::memory::peak(|| outcome = Frame::decode(frame.clone(), &bloc).map(drop));
    (frame.len() + more, outcome)
}

/// Where lists are: the messages around them, and their own tag.
const LISTS: &[&[u8]] = &[
    &[1, 2, 1],     // hints
    &[1, 4, 2],     // the roster of an ask,
    &[1, 9, 2, 2],  // of an install,
    &[1, 12, 2],    // of an eject,
    &[1, 19, 1, 2], // of an ask through somebody
    &[1, 5, 5, 1],  // the pairs of a refusal
    &[1, 20, 3],    // and of what keeps flocks apart
    &[1, 6, 2],     // the parents of a proposal
    &[1, 6, 3],     // and its candidates
    &[1, 7, 2, 1],  // whom a report does not reach
    &[1, 1, 9],     // the parents of a header
    &[2, 2, 3],     // instances of a dean
    &[2, 2, 3, 8],  // and the ports of one
    &[2, 3, 4],     // entries,
    &[2, 3, 5],     // shortfalls
    &[2, 3, 6],     // and wanted counts of a plan
    &[2, 4, 2],     // beats
    &[2, 5, 3],     // verdicts
    &[2, 6, 3],     // instances on a board
    &[2, 6, 3, 8],  // and the ports of one
    &[2, 8, 2],     // programs
    &[3, 1],        // sealed facts
];

/// A frame of the largest size that is nothing but entries of two bytes each: they are counted, and none is made.
#[test]
fn entries_are_counted_before_they_are_made() {
    for path in LISTS {
        let (list, around) = path.split_last().expect("a tag");
        let entries = [list << 3 | 2, 0].repeat((FRAME_MAX - 32) / 2);
        let frame = framed(around, entries);
        assert!((FRAME_MAX - 32..=FRAME_MAX).contains(&frame.len()));
        let (held, outcome) = held(&frame);
        assert!(outcome.is_err(), "{path:?}");
        assert!(held < FRAME_MAX + (64 << 10), "{path:?}: {} KiB", held >> 10);
    }
}

/// As many entries as there may be, of as few bytes as they may have: the most that a frame becomes. What does not count
/// here, as a roster that its header does not name, was made all the same before it was refused.
#[test]
fn the_largest_frames_of_the_smallest_entries_hold_a_bounded_memory() {
    let name = field(1, b"a");
    let member = [name.clone(), number(2, 1)].concat();
    let seat = [name.clone(), field(3, b"[::]:1")].concat();
    let of = [name.clone(), field(2, b"a")].concat();
    let revision = [1; 32];
    let port = field(8, b"");
    let ports = |count: u8| -> Vec<u8> { (b'a'..b'a' + count).flat_map(|name| field(8, &field(1, &[name]))).collect() };
    let instance = [field(1, &name), field(2, &of), field(4, &revision), number(5, 1)].concat();
    let entry = [field(1, &of), field(3, &revision), field(4, b"a"), field(5, &name), field(6, b"a")].concat();
    let beat = [field(1, &name), field(2, &of), field(5, &field(3, b"a"))].concat();
    let verdict = [field(1, &name), field(2, &of), number(3, 1), field(5, b"a"), field(6, b"a")].concat();
    let view = [number(1, 1), field(2, b"a"), field(3, &[1; 16])].concat();
    let head = {
        let header = [field(1, b"acme"), field(3, b"a"), field(4, &revision)].concat();
        field(1, &header)
    };
    let pair = [field(1, &member), field(2, &member)].concat();
    let parents = field(2, &view).repeat(ITEMS_MAX);
    let cases: Vec<(&[u8], Vec<u8>, Vec<u8>)> = vec![
        (&[2, 2], field(1, b"a"), field(3, &instance)),
        (&[2, 2], field(1, b"a"), field(3, &[&instance[..], &port].concat())),
        (&[2, 6], [field(1, b"a"), field(2, &view)].concat(), field(3, &[&instance[..], &ports(9)].concat())),
        (&[2, 2], field(1, b"a"), field(3, &[&instance[..], &ports(12)].concat())),
        (&[2, 2], field(1, b"a"), field(3, &[&instance[..], &ports(26)].concat())),
        (&[2, 3], [field(1, &[field(1, &view)].concat()), field(2, b"a"), field(3, b"a")].concat(), field(4, &entry)),
        (&[2, 4], field(1, b"a"), field(2, &beat)),
        (&[2, 5], [field(1, b"a"), field(2, &view)].concat(), field(3, &verdict)),
        (&[1, 4], head, field(2, &seat)),
        (
            &[1, 6],
            [field(1, &[number(1, 1), field(2, &member)].concat()), parents].concat(),
            field(3, &field(1, &seat)),
        ),
        (&[1, 20], [field(1, &view), field(2, &view)].concat(), field(3, &pair)),
        (&[1, 2], Vec::new(), field(1, &[name.clone(), field(2, b"[::]:1")].concat())),
        (&[3], Vec::new(), field(1, b"")),
    ];
    for (path, first, entry) in cases {
        // The most that are taken: the frame is full, or the list is.
        let full = (FRAME_MAX - 32 - first.len()) / entry.len();
        let filled = |count: usize| framed(path, [&first[..], &entry.repeat(count)].concat());
        let counts = [ITEMS_MAX, INSTANCES_MAX, INSTANCES_MAX / 3, INSTANCES_MAX / 6].map(|count| full.min(count));
        let frame = counts.into_iter().map(filled).find(|frame| held(frame).1 != Err(BadFrame::TooLong));
        let frame = frame.expect("a list that is not too long");
        let (held, outcome) = held(&frame);
        println!("{path:?}: {} bytes, {} an entry, hold {} KiB: {outcome:?}", frame.len(), entry.len(), held >> 10);
        assert!(held <= PEER, "{path:?}: {} KiB", held >> 10);
    }
}

//! The short run of every target: its corpus, its good inputs, and some thousand made from them.

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
    certificate admission private_key certificates_pem archive bundle identity_uri chain ca_record signed_fact
    hello welcome frame_length peer_words
    announcement probe_source probe_list book_row instance_log journal supervisor peer_part file_question file_answer
    health_answer dev_files lab_request api_query store_file
    documents requests event_stream hex error_code duration manifest grpc
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

/// A frame of the largest size that is nothing but entries of two bytes each: what they become before their number is
/// looked at is the most that one frame can make its reader hold.
#[test]
fn the_largest_frames_of_the_smallest_entries_hold_a_bounded_memory() {
    // Frame, kind, list: the tags of lists whose entries are the largest structures (instances, beats, plan entries).
    for (frame, kind, list) in [(2_u8, 2_u8, 3_u8), (2, 4, 2), (2, 3, 4), (1, 6, 3)] {
        let field = |tag: u8, body: &[u8]| {
            let mut bytes = vec![tag << 3 | 2];
            let mut length = body.len();
            while length >= 0x80 {
                bytes.push(length.to_le_bytes()[0] | 0x80);
                length >>= 7;
            }
            bytes.push(length.to_le_bytes()[0]);
            bytes.extend_from_slice(body);
            bytes
        };
        let entries = [list << 3 | 2, 0].repeat((crux_link::FRAME_MAX - 16) / 2);
        let bytes = field(frame, &field(kind, &entries));
        assert!((crux_link::FRAME_MAX - 16..=crux_link::FRAME_MAX).contains(&bytes.len()));
        let target = crux_fuzz::named("frame").expect("a target");
        let held = crux_fuzz::memory::peak(|| drive::one(&target, &bytes).expect("it is borne"));
        // Measured: 151 MiB for instances, 127 for plan entries, 121 for beats, 55 for candidates.
        assert!(held < 192 << 20, "{frame}.{kind}.{list}: {} KiB", held >> 10);
    }
}

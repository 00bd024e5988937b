//! Runs the targets on the saved inputs, and on inputs that proptest makes from these.
//!
//! `NANOSPAN_FUZZ_SECONDS` sets for how long each target gets altered inputs, `NANOSPAN_FUZZ_TARGETS` which targets run
//! (separated by spaces), and `NANOSPAN_FUZZ_FAILURES` the folder for inputs that fail.
#![allow(
    clippy::disallowed_methods,
    reason = "running out of memory may end a test or a benchmark"
)]

use std::{
    env, fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nanospan_fuzz::{TARGETS, limits, run};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};

/// The longest input, in bytes.
const LONGEST: usize = 64 * 1024;

/// The number of altered inputs to try before looking at the clock again.
const CASES: u32 = 1000;

/// Everything is in one test, because the limits on memory count what the whole program allocates.
#[test]
fn all_targets_hold_on_saved_and_altered_inputs() {
    let greedy = || limits::limited(b"input", 0, |_| vec![0_u8; limits::ALLOWANCE + 16]);
    assert!(std::panic::catch_unwind(greedy).is_err());
    for &(name, _) in TARGETS {
        let seeds = saved(name);
        assert!(!seeds.is_empty(), "tests/corpus/{name} has no inputs");
        for (path, seed) in &seeds {
            eprintln!("{}", path.display()); // shown if the target fails
            run(name, seed);
        }
        if chosen(name) {
            try_altered(name, seeds.into_iter().map(|(_, seed)| seed).collect());
        }
    }
}

fn saved(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/corpus")
        .join(target);
    let Ok(files) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    let read = |path: PathBuf| fs::read(&path).map(|seed| (path, seed));
    files.into_iter().flat_map(read).collect()
}

fn chosen(target: &str) -> bool {
    env::var("NANOSPAN_FUZZ_TARGETS").is_ok_and(|names| names.split(' ').any(|name| name == target))
}

/// A change to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Splice(Index, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match self {
            Self::Set(index, value) => {
                let at = at(index);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *value;
                }
            }
            Self::Flip(index, bit) => {
                let at = at(index);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Insert(index, new) => {
                let at = at(index);
                drop(bytes.splice(at..at, new.iter().copied()));
            }
            Self::Remove(index, length) => {
                let at = at(index);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Self::Repeat(index, length, times) => {
                let at = at(index);
                let slice = bytes[at..(at + length).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, slice.repeat(*times)));
            }
            Self::Splice(index, other) => {
                bytes.truncate(at(index));
                bytes.extend(other);
            }
        }
        bytes.truncate(LONGEST);
    }
}

fn changes(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (
            at(),
            select(vec![0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n'])
        )
            .prop_map(|(i, b)| Change::Set(i, b)),
        (at(), 0..8_u8).prop_map(|(i, bit)| Change::Flip(i, bit)),
        (at(), vec(any::<u8>(), 1..12)).prop_map(|(i, new)| Change::Insert(i, new)),
        (at(), 1..64_usize).prop_map(|(i, length)| Change::Remove(i, length)),
        (at(), 1..64_usize, 1..64_usize)
            .prop_map(|(i, length, times)| Change::Repeat(i, length, times)),
        (at(), select(seeds)).prop_map(|(i, other)| Change::Splice(i, other)),
    ]
}

/// Runs a target on altered inputs until its time is over.
fn try_altered(name: &str, seeds: Vec<Vec<u8>>) {
    let seconds =
        env::var("NANOSPAN_FUZZ_SECONDS").map_or(0, |text| text.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let input =
        (select(seeds.clone()), vec(changes(seeds), 1..6)).prop_map(|(mut bytes, changes)| {
            for change in changes {
                change.apply(&mut bytes);
            }
            bytes
        });
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runs = 0;
    while Instant::now() < end {
        // A runner runs no more cases than it is configured for, however often it is called.
        let found = TestRunner::new(config.clone()).run(&input, |bytes| {
            match std::panic::catch_unwind(|| run(name, &bytes)) {
                Ok(()) => Ok(()),
                Err(_) => Err(TestCaseError::fail("the target panicked")),
            }
        });
        if let Err(TestError::Fail(_, bytes)) = found {
            let folder = env::var("NANOSPAN_FUZZ_FAILURES").unwrap_or_else(|_| ".".to_owned());
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            let file = format!("{folder}/{name}-{:016x}", hasher.finish());
            fs::write(&file, bytes).expect("the folder exists");
            panic!("{name} failed; the input is in {file}");
        }
        runs += CASES;
    }
    eprintln!("{name}: {runs} runs");
}

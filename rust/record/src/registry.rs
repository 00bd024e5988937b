//! The registry of a monitor's operations, which finds them by name and limits their number.

use std::{collections::HashMap, sync::Arc};

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, arc, boxed, insert};

use crate::{
    clock::{Anchor, Clock, WallClock},
    error::Error,
    operation::Operation,
    seconds::Seconds,
    snapshot::{MonitorSnapshot, OperationSnapshot, of_interest},
    sync::{RwLock, Word, Writers},
};

/// Name of the overflow operation, which receives the samples of all names for which the registry had no room.
pub const OVERFLOW: &[u8] = b"__overflow__";

/// All operations of one monitor.
///
/// Every method may be called from any thread. A lock is held only while operations or thresholds are looked up or
/// changed, never while a sample is recorded or read.
#[derive(Debug)]
pub struct Registry {
    window: usize,
    max_operations: usize,
    clock: Clock,
    wall: WallClock,
    names: RwLock<Names>,
    overflow: Arc<Operation>,
    // How often a look-up returned the overflow operation, by reason.
    full: Word,
    starved: Word,
}

#[derive(Debug, Default)]
struct Names {
    operations: HashMap<Box<[u8]>, Arc<Operation>>,
    in_order: Vec<Arc<Operation>>,
    // Thresholds survive clearing, and may be set before their operation exists.
    thresholds: HashMap<Box<[u8]>, Seconds>,
}

/// An operation's name and its threshold.
pub type NamedThreshold = (Box<[u8]>, Seconds);

/// The result of looking up a name.
#[derive(Debug)]
pub enum Lookup {
    /// The operation with the requested name.
    Own(Arc<Operation>),
    /// There was no room for another operation, so samples with this name go to the overflow operation.
    Refused {
        /// The overflow operation, in which to record the samples instead.
        overflow: Arc<Operation>,
        /// Why there was no room.
        reason: Refusal,
        /// Whether this is the first look-up that was refused for this kind of reason.
        first: bool,
    },
}

/// The reason why the registry had no room for another operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// There are as many operations as allowed.
    Full,
    /// There was no memory for another operation.
    OutOfMemory(Error),
}

impl Registry {
    /// Creates a registry for at most `max_operations` names. Each operation keeps its last `window` samples.
    ///
    /// # Errors
    ///
    /// [`Error::Window`] if `window` is out of range; [`Error::MaxOperations`] if `max_operations` is 0;
    /// [`Error::NoBlock`] or [`Error::OutOfMemory`] if there is no memory for the overflow operation.
    pub fn new(window: usize, max_operations: usize) -> Result<Self, Error> {
        if max_operations == 0 {
            return Err(Error::MaxOperations(max_operations));
        }
        let clock = Clock::get();
        Ok(Self {
            window,
            max_operations,
            clock,
            wall: WallClock::new(clock),
            names: RwLock::default(),
            overflow: arc(Operation::new(OVERFLOW, window, clock)?)?,
            full: Word::new(0),
            starved: Word::new(0),
        })
    }

    /// Returns the number of most recent samples that each operation keeps.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Returns the maximum number of operations, not counting the overflow operation.
    #[must_use]
    pub fn max_operations(&self) -> usize {
        self.max_operations
    }

    /// Returns the clock that all operations use.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns the converter from ticks to wall-clock time.
    #[must_use]
    pub fn wall(&self) -> &WallClock {
        &self.wall
    }

    /// Returns the number of look-ups that returned the overflow operation because there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        // Relaxed: independent counters.
        self.full.load_relaxed() + self.starved.load_relaxed()
    }

    /// Returns the operation called `name`, or `None` if it has not been created by [`operation`](Self::operation).
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Arc<Operation>> {
        if name == OVERFLOW {
            return Some(Arc::clone(&self.overflow));
        }
        self.names.read().operations.get(name).map(Arc::clone)
    }

    /// Returns the operation called `name`, creating it if it does not exist and there is room. If there is no room,
    /// returns the overflow operation.
    ///
    /// If there is no memory for a new operation, the overflow operation is returned too, so that the monitor does not
    /// make the monitored program fail; a later look-up of the name tries again.
    #[must_use]
    pub fn operation(&self, name: &[u8]) -> Lookup {
        if let Some(operation) = self.get(name) {
            return Lookup::Own(operation);
        }
        let mut names = self.names.write();
        // Another thread may have created it between the two locks.
        if let Some(operation) = names.operations.get(name) {
            return Lookup::Own(Arc::clone(operation));
        }
        let (reason, refusals) = if names.operations.len() >= self.max_operations {
            (Refusal::Full, &self.full)
        } else {
            match self.create(&mut names, name) {
                Ok(operation) => return Lookup::Own(operation),
                Err(error) => (Refusal::OutOfMemory(error), &self.starved),
            }
        };
        Lookup::Refused {
            overflow: Arc::clone(&self.overflow),
            reason,
            first: Writers::Concurrent.add_relaxed(refusals, 1) == 0,
        }
    }

    fn create(&self, names: &mut Names, name: &[u8]) -> Result<Arc<Operation>, Error> {
        let operation = arc(Operation::new(name, self.window, self.clock)?)?;
        let key = boxed(name)?;
        // In this order, a failure leaves no operation in only one of the two collections.
        names.in_order.try_push(Arc::clone(&operation))?;
        if let Err(error) = insert(&mut names.operations, key, Arc::clone(&operation)) {
            names.in_order.pop();
            return Err(error.into());
        }
        // Without a threshold, the block stays unwritten and takes no memory before the first sample.
        if let Some(&threshold) = names.thresholds.get(name) {
            operation.block().set_threshold(Some(threshold));
        }
        Ok(operation)
    }

    /// Returns all operations in order of creation, followed by the overflow operation.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the list.
    pub fn operations(&self) -> Result<Vec<Arc<Operation>>, OutOfMemory> {
        let names = self.names.read();
        let own = names.in_order.iter().map(Arc::clone);
        own.chain([Arc::clone(&self.overflow)]).try_vec()
    }

    /// Takes a snapshot: copies every operation that has samples or running executions.
    ///
    /// Recording continues while the operations are copied one after another, so the copies are taken at slightly
    /// different times. A sample that is being recorded may be included only in part.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copies.
    pub fn snapshot(&self) -> Result<MonitorSnapshot, OutOfMemory> {
        self.begin_snapshot()?.finish()
    }

    /// Begins a snapshot: does the part of [`snapshot`](Self::snapshot) that takes locks. [`BegunSnapshot::finish`]
    /// does the rest without locks.
    ///
    /// Because no lock is held during the second, longer part, a process forked meanwhile by another thread does not
    /// inherit a lock that is never released.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the list of operations.
    pub fn begin_snapshot(&self) -> Result<BegunSnapshot, OutOfMemory> {
        Ok(BegunSnapshot {
            anchor: self.wall.anchor(),
            operations: self.operations()?,
            clock: self.clock,
        })
    }

    /// Sets the threshold of the operation called `name`, or removes it if `threshold` is `None`. If the operation does
    /// not exist yet, the threshold applies once it is created.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it; nothing has changed then.
    pub fn set_threshold(
        &self,
        name: &[u8],
        threshold: Option<Seconds>,
    ) -> Result<(), OutOfMemory> {
        let mut names = self.names.write();
        match threshold {
            Some(threshold) => insert(&mut names.thresholds, boxed(name)?, threshold)?,
            None => names.thresholds.remove(name),
        };
        match names.operations.get(name) {
            Some(operation) => operation.block().set_threshold(threshold),
            None if name == OVERFLOW => self.overflow.block().set_threshold(threshold),
            None => {}
        }
        Ok(())
    }

    /// Makes all operations count from zero in a forked child; names and thresholds are kept. The caller must be the
    /// child's only thread.
    pub fn reset_in_child(&self) {
        let names = self.names.read();
        for operation in names.in_order.iter().chain([&self.overflow]) {
            operation.reset_in_child(names.thresholds.get(operation.name()).copied());
        }
        self.full.store_relaxed(0);
        self.starved.store_relaxed(0);
    }

    /// Returns all thresholds as `(operation name, threshold)` pairs, in arbitrary order.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for them.
    pub fn thresholds(&self) -> Result<Vec<NamedThreshold>, OutOfMemory> {
        let names = self.names.read();
        let thresholds = names.thresholds.iter();
        thresholds
            .map(|(name, &threshold)| Ok((boxed(name)?, threshold)))
            .try_vec_of()
    }
}

/// A snapshot whose operations have been listed but not yet copied.
#[derive(Debug)]
pub struct BegunSnapshot {
    anchor: Anchor,
    operations: Vec<Arc<Operation>>,
    clock: Clock,
}

impl BegunSnapshot {
    /// Copies the listed operations, without taking any lock, and returns the complete snapshot.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copies.
    pub fn finish(self) -> Result<MonitorSnapshot, OutOfMemory> {
        let copies = self
            .operations
            .iter()
            .map(|operation| OperationSnapshot::of(operation, self.anchor));
        let operations = of_interest(copies)?;
        Ok(MonitorSnapshot {
            time: self.anchor.unix_seconds(self.clock.ticks()),
            operations,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sample::{Measured, Outcome};

    fn own(lookup: Lookup) -> Arc<Operation> {
        match lookup {
            Lookup::Own(operation) => operation,
            Lookup::Refused { .. } => panic!("refused"),
        }
    }

    #[test]
    fn a_name_always_leads_to_the_same_operation() {
        let registry = Registry::new(10, 10).unwrap();
        assert!(registry.get(b"a").is_none());
        let first = own(registry.operation(b"a"));
        assert!(Arc::ptr_eq(&first, &own(registry.operation(b"a"))));
        assert!(Arc::ptr_eq(&first, &registry.get(b"a").unwrap()));
        assert!(!Arc::ptr_eq(&first, &own(registry.operation(b"b"))));
    }

    #[test]
    fn names_past_the_bound_share_the_overflow_operation() {
        let registry = Registry::new(10, 2).unwrap();
        let (a, b) = (registry.operation(b"a"), registry.operation(b"b"));
        assert!(matches!((a, b), (Lookup::Own(_), Lookup::Own(_))));
        for (name, expect_first) in [(b"c", true), (b"d", false), (b"c", false)] {
            let refused = registry.operation(name);
            let Lookup::Refused {
                overflow,
                reason,
                first,
            } = refused
            else {
                panic!("not refused");
            };
            assert_eq!((overflow.name(), first), (OVERFLOW, expect_first));
            assert_eq!(reason, Refusal::Full);
        }
        assert_eq!(registry.refused(), 3);
        assert!(matches!(registry.operation(b"a"), Lookup::Own(_)));
        assert!(matches!(registry.operation(OVERFLOW), Lookup::Own(_)));
        assert_eq!(registry.operations().unwrap().len(), 3);
    }

    #[test]
    fn a_threshold_set_before_the_operation_exists_applies_to_it() {
        let registry = Registry::new(10, 10).unwrap();
        let half = Some(Seconds::new(0.5).unwrap());
        registry.set_threshold(b"a", half).unwrap();
        assert!(registry.get(b"a").is_none());
        assert_eq!(own(registry.operation(b"a")).block().threshold(), half);
        registry.set_threshold(b"a", None).unwrap();
        assert_eq!(own(registry.operation(b"a")).block().threshold(), None);
        assert!(registry.thresholds().unwrap().is_empty());
    }

    #[test]
    fn metadata_is_attached_before_the_sample_can_be_read() {
        let registry = Registry::new(10, 10).unwrap();
        let operation = own(registry.operation(b"a"));
        operation.record(
            0,
            Measured::Nanos(1),
            Outcome::Ok,
            Writers::Concurrent,
            |ticket| {
                let window = operation.window().unwrap();
                assert_eq!((ticket, window.samples.len(), window.skipped), (0, 0, 1));
                true
            },
        );
        let window = operation.window().unwrap();
        assert!(window.samples[0].1.has_metadata);
        assert_eq!(window.skipped, 0);
    }

    #[test]
    fn operations_count_from_zero_in_a_child_even_if_its_memory_was_copied() {
        // Without a fork nothing zeroes the memory.
        let registry = Registry::new(4, 1).unwrap();
        let half = Some(Seconds::new(0.5).unwrap());
        registry.set_threshold(b"a", half).unwrap();
        registry.set_threshold(OVERFLOW, half).unwrap();
        let operation = own(registry.operation(b"a"));
        let record = |outcome| {
            operation.begin(Writers::Concurrent);
            let (end, long) = (operation.clock().ticks(), Measured::Nanos(1_000_000_000));
            operation.record(end, long, outcome, Writers::Concurrent, |_| false);
        };
        for outcome in crate::sample::OUTCOMES.repeat(3) {
            record(outcome);
        }
        assert!(matches!(registry.operation(b"b"), Lookup::Refused { .. }));
        let forked = operation.clock().ticks();

        registry.reset_in_child();

        assert_eq!((operation.totals().count, operation.in_flight()), (0, 0));
        assert_eq!(operation.totals().violations, 0);
        assert_eq!(operation.histogram().unwrap().count(), 0);
        assert!(operation.window().unwrap().samples.is_empty());
        assert_eq!(operation.summary().unwrap(), None);
        assert_eq!(operation.block().threshold(), half);
        let overflow = registry.get(OVERFLOW).unwrap();
        assert_eq!(overflow.block().threshold(), half);
        assert!(operation.counts_from() >= forked);
        assert_eq!(registry.refused(), 0);
        record(Outcome::Ok);
        assert_eq!(
            (
                operation.totals().count,
                operation.window().unwrap().samples.len()
            ),
            (1, 1)
        );
        assert_eq!(operation.totals().violations, 1);
    }

    #[test]
    fn bounds_out_of_range_are_refused() {
        assert_eq!(Registry::new(10, 0).unwrap_err(), Error::MaxOperations(0));
        assert!(matches!(
            Registry::new(0, 1),
            Err(Error::Window { given: 0, .. })
        ));
    }
}

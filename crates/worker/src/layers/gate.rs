//! A bound on how many threads do something at once.

use std::sync::{Condvar, Mutex, PoisonError};

/// Lets so many in as there are places.
pub(super) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place behind the gate. It is free again when this is dropped.
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    pub(super) fn new(places: usize) -> Gate {
        Gate {
            free: Mutex::new(places),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place.
    pub(super) fn enter(&self) -> Pass<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(free, |free| *free == 0);
        *waited.unwrap_or_else(PoisonError::into_inner) -= 1;
        Pass(self)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_are_let_in_than_there_are_places() {
        let gate = Gate::new(2);
        let (inside, most, passed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let pass = gate.enter();
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        passed.fetch_add(1, Ordering::SeqCst);
                        drop(pass);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(passed.load(Ordering::SeqCst), 8 * 50);
    }

    #[test]
    fn a_place_is_free_again_after_a_panic() {
        let gate = Gate::new(1);
        let failed = std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let _pass = gate.enter();
                panic!("while inside");
            });
            inside.join()
        });
        assert!(failed.is_err());
        drop(gate.enter());
    }
}

//! Work that is handed to several threads piece by piece. What the work is, is the caller's matter.

use super::priority::{self, Effort};
use super::signals;
use crate::error::{Fault, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

/// Shared by those who do parts of one thing at the same time: when one has failed, the others are to end too.
#[derive(Debug, Default)]
pub struct GivenUp(AtomicBool);

impl GivenUp {
    /// For work that nothing else belongs to.
    pub const fn never() -> GivenUp {
        GivenUp(AtomicBool::new(false))
    }

    /// Has the others end.
    pub fn give_up(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error when this is to end early: because of that, or on a signal.
    pub fn check(&self) -> Result<()> {
        signals::check()?;
        match self.0.load(Ordering::Relaxed) {
            true => Err(Fault::failed("it was given up, since something that belongs to it has failed").into()),
            false => Ok(()),
        }
    }
}

/// Lets threads of this effort do `work` on each piece that `give`, on the calling thread, hands out; each with a state
/// of its own from `begin`. Little is handed out ahead. The first error ends all, and is returned.
pub fn share<T: Send, S>(
    effort: Effort,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> Result<()> + Sync,
    give: impl FnOnce(&mut dyn FnMut(T) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let threads = effort.threads.max(1);
    let (sender, receiver) = sync_channel(2 * threads);
    let receiver = Mutex::new(receiver);
    let failed = AtomicBool::new(false);
    let worker = || -> Result<()> {
        priority::set_for_this_thread(effort.nice, effort.io);
        let mut state = begin();
        let mut result = Ok(());
        loop {
            let next = receiver.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).recv();
            let Ok(piece) = next else { return result };
            // After a failure pieces are only taken, so that the other side does not wait for room.
            if failed.load(Ordering::Relaxed) {
                continue;
            }
            let done = catch_unwind(AssertUnwindSafe(|| work(&mut state, piece)));
            result = done.unwrap_or_else(|_| Err(Fault::failed("a thread has a mistake and gave up").into()));
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let given = give(&mut |piece| match failed.load(Ordering::Relaxed) {
            false => sender.send(piece).map_err(|_| anyhow::anyhow!("no thread is left to work")),
            true => Err(anyhow::anyhow!("a thread has failed")),
        });
        drop(sender);
        let ended = running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(())));
        // A worker's own error says more than that there was one.
        ended.collect::<Vec<_>>().into_iter().collect::<Result<()>>().and(given)
    })
}

#[cfg(test)]
mod tests {
    use super::super::priority::Io;
    use super::*;
    use std::sync::atomic::AtomicU64;

    const EFFORT: Effort = Effort { threads: 3, nice: 0, io: Io::Normal };

    #[test]
    fn every_piece_is_worked_on_once() {
        let sum = AtomicU64::new(0);
        let add = |_: &mut (), number| {
            sum.fetch_add(number, Ordering::Relaxed);
            Ok(())
        };
        share(EFFORT, || (), add, |give| (1..=1000).try_for_each(give)).unwrap();
        assert_eq!(sum.into_inner(), 500_500);
    }

    #[test]
    fn errors_and_panics_end_it_and_are_told() {
        let endless = |give: &mut dyn FnMut(u64) -> Result<()>| (0..).try_for_each(give);
        let fail = |_: &mut (), number| if number == 50 { Err(anyhow::anyhow!("fifty")) } else { Ok(()) };
        assert_eq!(share(EFFORT, || (), fail, endless).unwrap_err().to_string(), "fifty");
        let panic = |_: &mut (), number| if number < 50 { Ok(()) } else { panic!("on purpose") };
        assert!(share(EFFORT, || (), panic, endless).unwrap_err().to_string().contains("mistake"));
        let error = share(EFFORT, || (), |_: &mut (), _: u64| Ok(()), |_| Err(anyhow::anyhow!("nothing to give")));
        assert_eq!(error.unwrap_err().to_string(), "nothing to give");
    }
}

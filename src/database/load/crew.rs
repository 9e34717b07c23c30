//! Clients that run statements side by side on one database: each takes the next job when it is done with the
//! one before. What may run beside what is the caller's matter; so is what the statements mean.

use super::Refused;
use crate::database::Connection;
use crate::error::{Fault, Result, unpanicked};
use crate::sys::process::Running;
use crate::sys::{random, signals};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ChildStdout;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a wait looks whether another client has failed, or a signal has come.
const INTERVAL: Duration = Duration::from_millis(100);

/// Not more clients than that, however many processors there are: the server writes to one disk.
const MOST_CLIENTS: usize = 8;

/// No more is handed out ahead than this, in bytes, but for one job.
const MOST_AHEAD: usize = 32 << 20;

/// Not more jobs than that are tried once more.
const MOST_PUT_OFF: usize = 64;

/// Jobs that are waited for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch(u64);

/// Statements that one client runs, in their order.
#[derive(Debug)]
pub struct Job {
    /// The statements.
    pub sql: Vec<u8>,
    /// What then.
    pub if_refused: IfRefused,
}

/// What becomes of statements that the server refuses.
#[derive(Debug)]
pub enum IfRefused {
    /// The load has failed.
    Fail,
    /// These are run in their place, by a new client.
    Instead(Vec<u8>),
    /// They are run once more when all else is done, in their order: they may need something of that.
    Later,
}

impl From<Vec<u8>> for Job {
    fn from(sql: Vec<u8>) -> Self {
        Job { sql, if_refused: IfRefused::Fail }
    }
}

/// The clients. Dropping it ends them, whatever they are at.
#[derive(Debug)]
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// For the client that is free first.
    jobs: VecDeque<(Batch, Job)>,
    /// For the first client alone.
    for_first: VecDeque<(Batch, Job)>,
    /// To be run once more.
    put_off: Vec<(Batch, Vec<u8>)>,
    /// How many jobs of a batch are not done.
    open: BTreeMap<Batch, usize>,
    batches: u64,
    failure: Option<anyhow::Error>,
    /// The first client is let in: then the others may try.
    first_is_in: bool,
    /// No job comes any more.
    over: bool,
    /// Nobody waits for them any more.
    given_up: bool,
}

impl Crew {
    /// Starts clients, one for each processor, each of which runs `header` before all else. Where the server takes fewer of
    /// them, those do.
    pub fn start(connection: &Connection, header: &[u8]) -> Crew {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let start = |number| {
            let (shared, connection, header) = (Arc::clone(&shared), connection.clone(), header.to_vec());
            std::thread::spawn(move || {
                let worked = unpanicked(|| {
                    work(&shared, &connection, &header, number == 0);
                    Ok(())
                });
                if let Err(panicked) = worked {
                    shared.fail(&mut shared.lock(), panicked);
                }
            })
        };
        let threads = (0..clients()).map(start).collect();
        Crew { shared, threads }
    }

    /// A new batch.
    pub fn batch(&self) -> Batch {
        let mut state = self.shared.lock();
        state.batches += 1;
        Batch(state.batches)
    }

    /// Hands a job on to the client that is free first. Waits while enough of them are there; an error if any has failed.
    pub fn push(&self, batch: Batch, job: Job) -> Result<()> {
        let ahead = |state: &State| state.jobs.iter().map(|(_, job)| job.sql.len()).sum::<usize>();
        let mut state =
            self.wait_until(|state| state.jobs.len() <= self.threads.len() && ahead(state) <= MOST_AHEAD)?;
        *state.open.entry(batch).or_insert(0) += 1;
        state.jobs.push_back((batch, job));
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Hands a job on to the first client: those that get there run in their order.
    pub fn push_in_order(&self, batch: Batch, job: Job) -> Result<()> {
        let mut state = self.wait_until(|state| state.for_first.len() < 2)?;
        *state.open.entry(batch).or_insert(0) += 1;
        state.for_first.push_back((batch, job));
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Waits until the server has done a batch.
    pub fn wait(&self, batch: Batch) -> Result<()> {
        self.wait_until(|state| !state.open.contains_key(&batch)).map(drop)
    }

    /// Waits until the server has done all, also what it has refused at first.
    pub fn settle(&self) -> Result<()> {
        let put_off = std::mem::take(&mut self.wait_until(|state| state.open.is_empty())?.put_off);
        for (batch, sql) in put_off {
            self.push_in_order(batch, sql.into())?;
        }
        self.wait_until(|state| state.open.is_empty()).map(drop)
    }

    /// Waits for the end of all, and lets the clients say goodbye.
    pub fn finish(mut self) -> Result<()> {
        self.settle()?;
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| Fault::failed("a thread that loads the dump panicked"))?;
        }
        Ok(())
    }

    fn wait_until(&self, ready: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>> {
        let mut state = self.shared.lock();
        loop {
            signals::check()?;
            if let Some(failure) = state.failure.take() {
                state.given_up = true;
                return Err(failure);
            }
            if state.given_up {
                return Err(Fault::failed("the load was given up").into());
            }
            if ready(&state) {
                return Ok(state);
            }
            state = self.shared.changed.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn clients() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(2, MOST_CLIENTS)
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.lock().given_up = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the first client is let in; false if it will not be, or is not needed any more.
    fn first_is_in(&self) -> bool {
        let mut state = self.lock();
        while !(state.first_is_in || state.over || state.given_up || state.failure.is_some()) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.first_is_in && !state.over
    }

    /// The next job; `None` when there are no more.
    fn next(&self, is_first: bool) -> Option<(Batch, Job)> {
        let mut state = self.lock();
        loop {
            if state.given_up || state.failure.is_some() {
                return None;
            }
            let job = if is_first { state.for_first.pop_front() } else { None };
            if let Some(job) = job.or_else(|| state.jobs.pop_front()) {
                self.changed.notify_all();
                return Some(job);
            }
            if state.over {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn note(&self, batch: Batch, result: Result<()>) {
        let mut state = self.lock();
        match result {
            Ok(()) => {
                if let Some(open) = state.open.get_mut(&batch) {
                    *open -= 1;
                    if *open == 0 {
                        state.open.remove(&batch);
                    }
                }
            }
            Err(error) => self.fail(&mut state, error),
        }
        self.changed.notify_all();
    }

    /// Keeps what was refused until all else is done; false if that is too much.
    fn put_off(&self, batch: Batch, sql: &mut Vec<u8>) -> bool {
        let mut state = self.lock();
        let few = state.put_off.len() < MOST_PUT_OFF;
        if few {
            state.put_off.push((batch, std::mem::take(sql)));
        }
        few
    }

    fn fail(&self, state: &mut State, error: anyhow::Error) {
        // What the others say afterwards comes of it.
        if !state.given_up && state.failure.is_none() {
            state.failure = Some(error);
        }
        self.changed.notify_all();
    }

    /// An error when what is being done is not wanted any more.
    fn check(&self) -> Result<()> {
        signals::check()?;
        let state = self.lock();
        match state.given_up || state.failure.is_some() {
            true => Err(Fault::failed("the load was given up").into()),
            false => Ok(()),
        }
    }
}

/// A client's thread. Ends with its client, so that none is left behind.
fn work(shared: &Shared, connection: &Connection, header: &[u8], is_first: bool) {
    if !is_first && !shared.first_is_in() {
        return;
    }
    let mut client = match Client::start(shared, connection, header) {
        Ok(client) => client,
        Err(error) if is_first => return shared.fail(&mut shared.lock(), error),
        // The server takes no more of them, perhaps: what is wrong otherwise the first will find too.
        Err(_) => return,
    };
    if is_first {
        shared.lock().first_is_in = true;
        shared.changed.notify_all();
    }
    while let Some((batch, mut job)) = shared.next(is_first) {
        let mut result = client.run(shared, &job.sql);
        if result.as_ref().is_err_and(|error| error.downcast_ref::<Refused>().is_some()) {
            let then: &[u8] = match &job.if_refused {
                IfRefused::Instead(sql) => sql,
                IfRefused::Later if shared.put_off(batch, &mut job.sql) => b"",
                _ => return shared.note(batch, result),
            };
            result = Client::start(shared, connection, header).and_then(|new| {
                client = new;
                client.run(shared, then)
            });
        }
        let failed = result.is_err();
        shared.note(batch, result);
        if failed {
            return;
        }
    }
}

/// One client of the database.
#[derive(Debug)]
struct Client {
    running: Option<Running>,
    stdout: ChildStdout,
    /// What it says when it is done with a job; nothing in a dump can know that.
    done: String,
}

impl Client {
    fn start(shared: &Shared, connection: &Connection, header: &[u8]) -> Result<Client> {
        let mut running = connection.loading_client()?.piped_input().spawn()?;
        let stdout = running.stdout.take().ok_or_else(|| anyhow::anyhow!("the client has no output"))?;
        if let Some(stdin) = running.stdin() {
            fcntl(&*stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let done = format!("moodle-backup: done {}", random::letters(16)?);
        let mut client = Client { running: Some(running), stdout, done };
        client.run(shared, header)?;
        Ok(client)
    }

    /// Runs statements, and returns when the server has done them.
    fn run(&mut self, shared: &Shared, sql: &[u8]) -> Result<()> {
        let say_done = format!("\nSELECT '{}';\n", self.done);
        let told = self.tell(shared, sql).and_then(|()| self.tell(shared, say_done.as_bytes()));
        match told.and_then(|()| self.hear(shared)) {
            Err(error) if error.downcast_ref::<Ended>().is_some() => Err(self.last_words()),
            other => other,
        }
    }

    fn tell(&mut self, shared: &Shared, mut bytes: &[u8]) -> Result<()> {
        let stdin = self.running.as_mut().and_then(Running::stdin);
        let stdin = stdin.ok_or_else(|| anyhow::anyhow!("the client takes no statements"))?;
        while !bytes.is_empty() {
            wait_for(shared, stdin.as_fd(), PollFlags::POLLOUT)?;
            match stdin.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Ended.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads up to the mark. Statements of a dump that answer something (`SELECT SETVAL` of a sequence) come before it.
    fn hear(&mut self, shared: &Shared) -> Result<()> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            wait_for(shared, self.stdout.as_fd(), PollFlags::POLLIN)?;
            match self.stdout.read(&mut buffer) {
                Ok(0) => return Err(Ended.into()),
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if heard.trim_ascii_end().ends_with(self.done.as_bytes()) {
                return Ok(());
            }
        }
    }

    fn last_words(&mut self) -> anyhow::Error {
        match self.running.take().map(Running::finish) {
            Some(Ok(output)) => Refused(output.stderr).into(),
            Some(Err(error)) => error,
            None => Ended.into(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            // Servers log a connection that just breaks off as aborted.
            running.end_within(Duration::from_millis(200));
        }
    }
}

/// The client ended before it was done.
#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database client ended too early")
    }
}

impl std::error::Error for Ended {}

fn wait_for(shared: &Shared, fd: BorrowedFd<'_>, what: PollFlags) -> Result<()> {
    loop {
        shared.check()?;
        let mut fds = [PollFd::new(fd, what)];
        let limit = PollTimeout::try_from(INTERVAL).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Ok(_) if fds[0].any() == Some(true) => return Ok(()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

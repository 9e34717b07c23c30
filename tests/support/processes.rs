//! What can be seen of other processes in /proc: whom a run has started, as whom, and what it tells everybody there.
//!
//! A watch looks again and again, as an unprivileged user of the machine could.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub id: i32,
    /// The name of the program, without its path.
    pub program: String,
    /// The user it runs as.
    pub uid: u32,
}

/// All that this process has started, at any remove, and that is alive.
pub fn descendants(ancestor: u32) -> Vec<Seen> {
    let all: Vec<(i32, i32)> = ids().filter_map(|id| Some((id, parent(id)?))).collect();
    let mut found = vec![ancestor.cast_signed()];
    let mut at = 0;
    while let Some(&one) = found.get(at) {
        found.extend(all.iter().filter(|(_, parent)| *parent == one).map(|(id, _)| *id));
        at += 1;
    }
    found.iter().skip(1).filter_map(|id| look(*id)).collect()
}

/// The one descendant that runs this program.
pub fn descendant(ancestor: u32, program: &str) -> Option<i32> {
    descendants(ancestor).into_iter().find(|seen| seen.program == program).map(|seen| seen.id)
}

fn ids() -> impl Iterator<Item = i32> {
    let found = std::fs::read_dir("/proc").expect("processes can be listed").flatten();
    found.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(id: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn look(id: i32) -> Option<Seen> {
    let folder = format!("/proc/{id}");
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let program = std::fs::read_link(format!("{folder}/exe")).ok()?;
    Some(Seen {
        id,
        program: Path::new(&program).file_name()?.to_string_lossy().into_owned(),
        uid: uids.split_whitespace().nth(1)?.parse().ok()?,
    })
}

/// Looks at all processes until stopped.
pub struct ProcessWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Sight>>,
}

/// What a watch saw.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Where one of the secrets stood, in words.
    pub leaks: BTreeSet<String>,
    /// Programs that the run started, with the user id of each.
    pub started: BTreeSet<(String, u32)>,
    /// How often it looked.
    pub rounds: u64,
}

impl ProcessWatch {
    /// Watches what this process starts, and looks for the secrets in the command lines and environments of all.
    pub fn start(ancestor: u32, secrets: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, secrets) =
            (Arc::clone(&stop), secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect::<Vec<_>>());
        let thread = std::thread::spawn(move || watch(ancestor, &secrets, &told));
        ProcessWatch { stop, thread: Some(thread) }
    }

    pub fn stop(mut self) -> Sight {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).expect("the watch does not panic")
    }
}

impl Drop for ProcessWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(ancestor: u32, secrets: &[Vec<u8>], stop: &AtomicBool) -> Sight {
    let mut sight = Sight::default();
    while !stop.load(Ordering::Relaxed) {
        for id in ids() {
            for file in ["cmdline", "environ"] {
                let text = std::fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
                if secrets.iter().any(|secret| text.windows(secret.len()).any(|part| part == secret)) {
                    sight.leaks.insert(format!("{file} of {}", look(id).map_or("?".into(), |seen| seen.program)));
                }
            }
        }
        sight.started.extend(descendants(ancestor).into_iter().map(|seen| (seen.program, seen.uid)));
        sight.rounds += 1;
    }
    sight
}

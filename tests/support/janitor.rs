//! Cleans up after a test process that could not: killed, aborted, or ended with shared servers in statics.
//!
//! One shell waits on a pipe for the whole life of the test process. What is started or mounted is written into the
//! pipe, and taken back when its owner has dropped it in order. When the pipe closes, whatever is left is undone, last
//! things first. No test logic here, and nothing that an owner's `Drop` should do itself.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Reads until the pipe closes, keeps what was not taken back, and undoes it in reverse order.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
awk '
    $1 == "+" { left[$2] = substr($0, index($0, $3)); last = $2 }
    $1 == "-" { delete left[$2] }
    END { for (i = last; i > 0; i--) if (i in left) print left[i] }
' | while read -r kind value; do
    case $kind in
    group) kill -s "${value%% *}" -- "-${value#* }" ;;
    environment)
        for process in /proc/[0-9]*; do
            tr '\0' '\n' <"$process/environ" | grep -qxF -- "$value" && kill -KILL "${process#/proc/}"
        done ;;
    mount)
        fsfreeze -u "$value"
        umount -l -- "$value" ;;
    folder)
        for try in 1 2 3 4 5 6 7 8 9 10; do
            rm -rf --one-file-system -- "$value" && break
            sleep 0.2
        done ;;
    esac
done
"#;

/// Something that must not outlive the test process.
pub enum Leftover<'a> {
    /// A process group, and the signal that ends it.
    Group { id: i32, signal: &'a str },
    /// Every process with this `NAME=value` in its environment.
    Environment(&'a str),
    /// A mount point.
    Mount(&'a str),
    /// A folder with all it holds.
    Folder(&'a str),
}

/// While this lives, the janitor knows of the leftover; dropping it says that it is gone.
pub struct Watch {
    id: u64,
}

/// Tells the janitor what to undo if we cannot.
pub fn watch(leftover: &Leftover) -> Watch {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let line = match leftover {
        Leftover::Group { id, signal } => format!("group {signal} {id}"),
        Leftover::Environment(entry) => format!("environment {entry}"),
        Leftover::Mount(path) => format!("mount {path}"),
        Leftover::Folder(path) => format!("folder {path}"),
    };
    // The id is drawn under the lock, so that ids rise in the order of the lines.
    let mut janitor = janitor();
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    tell(&mut janitor, &format!("+ {id} {line}"));
    Watch { id }
}

impl Drop for Watch {
    fn drop(&mut self) {
        tell(&mut janitor(), &format!("- {}", self.id));
    }
}

/// Has everything cleaned up that is left, and waits for it: the last thing that a process does with this module.
pub fn finish() {
    let mut janitor = janitor();
    drop(janitor.stdin.take());
    let _ = janitor.wait();
}

fn tell(janitor: &mut Child, line: &str) {
    // Whoever killed the janitor, or has let it finish, has to clean up.
    let _ = janitor.stdin.as_mut().map(|pipe| writeln!(pipe, "{line}"));
}

fn janitor() -> MutexGuard<'static, Child> {
    static JANITOR: OnceLock<Mutex<Child>> = OnceLock::new();
    JANITOR.get_or_init(|| Mutex::new(start())).lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn start() -> Child {
    // A group of its own: Ctrl-C on the tests must not end the one that cleans up after them.
    Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .expect("sh starts")
}

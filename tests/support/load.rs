//! Clients at work on a site: they upload, read back and delete, each its own files, and run tasks if wanted.
//!
//! A client knows what it stored, so it also knows when the site has lost something.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http::{self, Response};
use super::site::uploaded;

/// What the clients do, and how much of it. The site answers four requests at a time, so mind who else is to be heard.
#[derive(Clone)]
pub struct LoadOptions {
    pub clients: usize,
    /// Tasks that one further client runs in turn: see task.php.
    pub tasks: Vec<&'static str>,
    /// A pause after each task.
    pub task_pause: Duration,
    /// How many files a client leaves on the site at most.
    pub keep: usize,
    /// The size of the largest upload.
    pub largest: usize,
    /// A load that nobody stops ends by itself.
    pub limit: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            clients: 2,
            tasks: Vec::new(),
            task_pause: Duration::from_millis(50),
            keep: 100,
            largest: 30_000,
            limit: Duration::from_secs(300),
        }
    }
}

impl From<usize> for LoadOptions {
    /// So many clients, and no tasks.
    fn from(clients: usize) -> Self {
        LoadOptions { clients, ..LoadOptions::default() }
    }
}

/// What the clients saw.
#[derive(Debug, Default)]
pub struct LoadReport {
    pub uploads: u64,
    pub downloads: u64,
    pub deletes: u64,
    pub tasks: u64,
    /// How often each status came; 0 stands for no answer.
    pub statuses: BTreeMap<u16, u64>,
    /// What was uploaded, not deleted, and came back wrong or not at all, in words.
    pub lost: Vec<String>,
    /// Ids of the files that the clients left on the site.
    pub kept: Vec<u64>,
}

impl LoadReport {
    fn add(&mut self, other: LoadReport) {
        self.uploads += other.uploads;
        self.downloads += other.downloads;
        self.deletes += other.deletes;
        self.tasks += other.tasks;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.lost.extend(other.lost);
        self.kept.extend(other.kept);
    }

    /// Counts an answer; whether it was a good one.
    fn saw(&mut self, answer: Option<&Response>) -> bool {
        let status = answer.map_or(0, |response| response.status);
        *self.statuses.entry(status).or_default() += 1;
        status == 200
    }
}

/// A running load; dropping it stops it.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<LoadReport>>,
}

impl Load {
    pub(super) fn start(port: u16, options: LoadOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        let workers = options.clients + usize::from(!options.tasks.is_empty());
        for number in 0..workers {
            let mut client = Client {
                port,
                options: options.clone(),
                random: 0x9e37_79b9_7f4a_7c15 ^ (u64::from(std::process::id()) << 20) ^ number as u64,
                files: VecDeque::new(),
                report: LoadReport::default(),
            };
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            let runs_tasks = number >= options.clients;
            threads.push(std::thread::spawn(move || {
                let end = Instant::now() + client.options.limit;
                while !stop.load(Ordering::Relaxed) && Instant::now() < end {
                    if runs_tasks {
                        client.run_tasks()
                    } else {
                        client.act()
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                client.finish()
            }));
        }
        Load { stop, done, threads }
    }

    /// How many actions are done by now: something to wait for.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the load and tells what it saw.
    pub fn stop(mut self) -> LoadReport {
        let mut report = LoadReport::default();
        for client in self.end() {
            report.add(client);
        }
        report
    }

    fn end(&mut self) -> Vec<LoadReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).filter_map(|thread| thread.join().ok()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// A file that a client has on the site.
struct Stored {
    id: u64,
    content: Vec<u8>,
}

struct Client {
    port: u16,
    options: LoadOptions,
    random: u64,
    files: VecDeque<Stored>,
    report: LoadReport,
}

impl Client {
    /// One thing that a user does: mostly uploading and reading, deleting the oldest when there are many.
    fn act(&mut self) {
        let choice = self.next_random() % 10;
        if self.files.len() >= self.options.keep || (choice < 3 && self.files.len() > 5) {
            self.delete();
        } else if choice < 7 || self.files.is_empty() {
            self.upload();
        } else {
            self.download();
        }
    }

    fn upload(&mut self) {
        let content = self.new_content();
        let answer = self.ask("/upload.php", Some(&content));
        if let Some((id, _)) = answer.as_ref().and_then(uploaded) {
            self.report.uploads += 1;
            self.files.push_back(Stored { id, content });
        }
    }

    fn download(&mut self) {
        let index = self.next_random() as usize % self.files.len();
        let id = self.files[index].id;
        let answer = self.request(&format!("/pluginfile.php?id={id}"), None);
        self.report.saw(answer.as_ref());
        self.judge(index, answer);
        self.report.downloads += 1;
    }

    /// Anything but the file itself is a loss, unless the site is closed, or nobody answered.
    fn judge(&mut self, index: usize, answer: Option<Response>) {
        let Some(answer) = answer else { return };
        let stored = &self.files[index];
        let whole = answer.status == 200 && answer.body == stored.content;
        if !whole && answer.status != 503 {
            self.report.lost.push(format!("file {}: {} {:.200}", stored.id, answer.status, answer.text()));
        }
    }

    fn delete(&mut self) {
        let Some(file) = self.files.pop_front() else { return };
        match self.ask(&format!("/delete.php?id={}", file.id), Some(b"")) {
            Some(_) => self.report.deletes += 1,
            // Not deleted, as far as we know: still ours.
            None => self.files.push_front(file),
        }
    }

    fn run_tasks(&mut self) {
        for task in self.options.tasks.clone() {
            if self.ask(&format!("/task.php?task={task}"), None).is_some() {
                self.report.tasks += 1;
            }
            std::thread::sleep(self.options.task_pause);
        }
    }

    /// An answer that is a good one, counted either way.
    fn ask(&mut self, path: &str, body: Option<&[u8]>) -> Option<Response> {
        let answer = self.request(path, body);
        let good = self.report.saw(answer.as_ref());
        answer.filter(|_| good)
    }

    fn request(&self, path: &str, body: Option<&[u8]>) -> Option<Response> {
        http::request(self.port, path, body).ok()
    }

    fn finish(mut self) -> LoadReport {
        self.report.kept = self.files.iter().map(|file| file.id).collect();
        self.report
    }

    fn new_content(&mut self) -> Vec<u8> {
        let size = self.next_random() as usize % self.options.largest + 1;
        let mut content = Vec::with_capacity(size + 8);
        while content.len() < size {
            content.extend_from_slice(&self.next_random().to_le_bytes());
        }
        content.truncate(size.max(8));
        content
    }

    /// xorshift: quick, and good enough to make contents that differ.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

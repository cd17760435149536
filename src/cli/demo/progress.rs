//! One line for each step: a turning bar while it runs, then OK or FAIL.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const TURNS: [char; 4] = ['|', '/', '-', '\\'];

/// Counts the steps.
#[derive(Default)]
pub(super) struct Progress {
    passed: usize,
    failed: usize,
}

impl Progress {
    /// Runs a step; it gives a remark or the reason of its failure.
    pub(super) fn step(
        &mut self,
        title: &str,
        work: impl FnOnce() -> Result<String, String>,
    ) -> bool {
        let began = Instant::now();
        let spinner = Spinner::start(title);
        let result = work();
        drop(spinner);
        let millis = began.elapsed().as_millis();
        match &result {
            Ok(remark) => {
                self.passed += 1;
                tell!("  OK    {title:<44} {remark} ({millis} ms)");
            }
            Err(why) => {
                self.failed += 1;
                tell!("  FAIL  {title:<44} ({millis} ms)");
                why.lines().for_each(|l| tell!("          {l}"));
            }
        }
        result.is_ok()
    }

    /// Whether every step so far was OK, and how many there were.
    pub(super) fn result(&self) -> (bool, usize) {
        (self.failed == 0, self.passed + self.failed)
    }
}

/// A turning bar on a terminal, nothing elsewhere.
struct Spinner {
    stop: Arc<AtomicBool>,
    ended: Option<mpsc::Receiver<()>>,
}

impl Spinner {
    fn start(title: &str) -> Spinner {
        let stop = Arc::new(AtomicBool::new(false));
        if !std::io::stdout().is_terminal() {
            return Spinner { stop, ended: None };
        }
        let (theirs, title) = (stop.clone(), title.to_string());
        let (end, ended) = mpsc::channel();
        std::thread::spawn(move || {
            for turn in TURNS.iter().cycle() {
                if theirs.load(Ordering::Relaxed) {
                    break;
                }
                tell_part!("\r  {turn}     {title}");
                std::thread::sleep(Duration::from_millis(80));
            }
            tell_part!("\r\x1b[2K");
            let _ = end.send(());
        });
        Spinner {
            stop,
            ended: Some(ended),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(ended) = &self.ended {
            let _ = ended.recv();
        }
    }
}

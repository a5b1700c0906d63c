//! Processes that aren't scheduled for a while: what a busy machine does, made certain.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Not scheduled until this is dropped.
pub struct Stopped(Pid);

impl Stopped {
    #[track_caller]
    pub fn of(process: i32) -> Self {
        let process = Pid::from_raw(process);
        kill(process, Signal::SIGSTOP).unwrap();
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = kill(self.0, Signal::SIGCONT) {
            eprintln!("process {}: {error}", self.0);
        }
    }
}

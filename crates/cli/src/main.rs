#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    fathom_cli::main(std::env::args_os())
}

//! `postino-compat`: the historical programs in one small binary. Everything is in the library of the same name.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(postino_compat::run());
}

//! The worker's walls: no new privileges, Landlock on files, a seccomp deny list. Applied once by `worker`, before any thread exists.
//! Never loosened afterwards.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus,
};
use postino_control::resolved::Sandbox;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, TargetArch};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Folders that the worker needs; nothing else of the file system is reachable afterwards.
pub(crate) struct Needs {
    /// Read only.
    pub(crate) read: Vec<PathBuf>,
    /// Read and write, with everything below.
    pub(crate) write: Vec<PathBuf>,
}

/// Applies the walls. `Ok(lines)`: what could not be had (for one warning); `Err`: mode `required` and the kernel lacks something.
pub(crate) fn apply(mode: Sandbox, needs: &Needs) -> Result<Vec<String>, String> {
    if mode == Sandbox::Off {
        return Ok(Vec::new());
    }
    let mut lacking = Vec::new();
    if let Err(e) = rustix::thread::set_no_new_privs(true) {
        lacking.push(format!("no_new_privs: {e}"));
    }
    match files(needs) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => lacking.push("landlock: this kernel enforces only a part".into()),
        Ok(RulesetStatus::NotEnforced) => lacking.push("landlock: this kernel has none".into()),
        Err(e) => lacking.push(format!("landlock: {e}")),
    }
    if let Err(e) = syscalls() {
        lacking.push(format!("seccomp: {e}"));
    }
    if mode == Sandbox::Required && !lacking.is_empty() {
        return Err(format!("sandbox = \"required\" in server.toml, but: {}", lacking.join("; ")));
    }
    Ok(lacking)
}

fn files(needs: &Needs) -> Result<RulesetStatus, landlock::RulesetError> {
    let abi = ABI::V4;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        // Listeners are bound before; nothing in here ever binds a TCP port again.
        .handle_access(AccessNet::BindTcp)?
        .create()?;
    let mut read = AccessFs::from_read(abi);
    read.remove(AccessFs::Execute);
    for path in &needs.read {
        ruleset = allow(ruleset, path, read)?;
    }
    let mut write = AccessFs::from_all(abi);
    write.remove(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    for path in &needs.write {
        ruleset = allow(ruleset, path, write)?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

fn allow(ruleset: RulesetCreated, path: &PathBuf, access: landlock::BitFlags<AccessFs>) -> Result<RulesetCreated, landlock::RulesetError> {
    // A folder that does not exist needs no rule.
    let Ok(fd) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V4) };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

/// System calls that mail never needs and break-ins love.
const DENIED: &[i64] = &[
    libc_numbers::EXECVE,
    libc_numbers::EXECVEAT,
    libc_numbers::PTRACE,
    libc_numbers::MOUNT,
    libc_numbers::UMOUNT2,
    libc_numbers::PIVOT_ROOT,
    libc_numbers::BPF,
    libc_numbers::USERFAULTFD,
    libc_numbers::KEYCTL,
    libc_numbers::ADD_KEY,
    libc_numbers::REQUEST_KEY,
    libc_numbers::KEXEC_LOAD,
    libc_numbers::INIT_MODULE,
    libc_numbers::FINIT_MODULE,
    libc_numbers::DELETE_MODULE,
    libc_numbers::REBOOT,
    libc_numbers::SWAPON,
    libc_numbers::SETNS,
    libc_numbers::UNSHARE,
    libc_numbers::OPEN_BY_HANDLE_AT,
    libc_numbers::PERF_EVENT_OPEN,
    libc_numbers::PROCESS_VM_READV,
    libc_numbers::PROCESS_VM_WRITEV,
    libc_numbers::IO_URING_SETUP,
    libc_numbers::OPEN_TREE,
    libc_numbers::MOVE_MOUNT,
    libc_numbers::FSOPEN,
    libc_numbers::FSCONFIG,
    libc_numbers::FSMOUNT,
    libc_numbers::FSPICK,
    libc_numbers::MOUNT_SETATTR,
    libc_numbers::KEXEC_FILE_LOAD,
    libc_numbers::SWAPOFF,
    libc_numbers::CHROOT,
    libc_numbers::ACCT,
    libc_numbers::SETTIMEOFDAY,
    libc_numbers::CLOCK_SETTIME,
    libc_numbers::SETHOSTNAME,
    libc_numbers::SETDOMAINNAME,
    libc_numbers::QUOTACTL,
    libc_numbers::KCMP,
    libc_numbers::PIDFD_GETFD,
    libc_numbers::PROCESS_MADVISE,
];

/// Set in the numbers of x32, the third way to call an x86-64 kernel, where it was built with it. The filter's check of the architecture does not
/// tell the two apart, and nothing of ours is an x32 program.
const X32: i64 = 0x4000_0000;
/// Numbers that only x32 has: execve, ptrace and others with pointers of its own.
const X32_ONLY: std::ops::RangeInclusive<i64> = 512..=547;

/// Numbers that are denied whatever their arguments.
fn denied() -> impl Iterator<Item = i64> {
    let plain = DENIED.iter().copied().filter(|number| *number >= 0);
    let with_arguments = [libc_numbers::CLONE, libc_numbers::CLONE3];
    let x32 = plain.clone().chain(with_arguments).chain(X32_ONLY).map(|number| number | X32);
    plain.chain(x32.filter(|_| cfg!(target_arch = "x86_64")))
}

fn syscalls() -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let mut rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>> = denied().map(|n| (n, Vec::new())).collect();
    rules.insert(libc_numbers::CLONE, vec![new_user_namespace()?]);
    let errno = u32::try_from(rustix::io::Errno::PERM.raw_os_error()).map_err(|e| e.to_string())?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch).map_err(|e| e.to_string())?;
    install(filter)?;
    // Its flags lie in memory, where a filter cannot look; libc then takes clone, whose flags can be seen.
    let errno = u32::try_from(rustix::io::Errno::NOSYS.raw_os_error()).map_err(|e| e.to_string())?;
    let clone3 = BTreeMap::from([(libc_numbers::CLONE3, Vec::new())]);
    install(SeccompFilter::new(clone3, SeccompAction::Allow, SeccompAction::Errno(errno), arch).map_err(|e| e.to_string())?)
}

/// `clone` into a user name space of its own.
fn new_user_namespace() -> Result<seccompiler::SeccompRule, String> {
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    let masked = SeccompCmpOp::MaskedEq(CLONE_NEWUSER);
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, masked, CLONE_NEWUSER).map_err(|e| e.to_string())?;
    seccompiler::SeccompRule::new(vec![condition]).map_err(|e| e.to_string())
}

fn install(filter: SeccompFilter) -> Result<(), String> {
    let program: BpfProgram = filter.try_into().map_err(|e: seccompiler::BackendError| e.to_string())?;
    seccompiler::apply_filter(&program).map_err(|e| e.to_string())
}

/// The kernel's numbers, from its own headers (unistd_64.h of x86-64; asm-generic/unistd.h of aarch64); elsewhere −1: not filtered.
mod libc_numbers {
    macro_rules! numbers {
        ($($name:ident $x86:literal $arm:literal)*) => { $(
            #[cfg(target_arch = "x86_64")]
            pub(super) const $name: i64 = $x86;
            #[cfg(target_arch = "aarch64")]
            pub(super) const $name: i64 = $arm;
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            pub(super) const $name: i64 = -1;
        )* };
    }
    numbers! {
        CLONE 56 220
        CLONE3 435 435
        EXECVE 59 221
        EXECVEAT 322 281
        PTRACE 101 117
        MOUNT 165 40
        UMOUNT2 166 39
        PIVOT_ROOT 155 41
        BPF 321 280
        USERFAULTFD 323 282
        KEYCTL 250 219
        ADD_KEY 248 217
        REQUEST_KEY 249 218
        KEXEC_LOAD 246 104
        INIT_MODULE 175 105
        FINIT_MODULE 313 273
        DELETE_MODULE 176 106
        REBOOT 169 142
        SWAPON 167 224
        SETNS 308 268
        UNSHARE 272 97
        OPEN_BY_HANDLE_AT 304 265
        PERF_EVENT_OPEN 298 241
        PROCESS_VM_READV 310 270
        PROCESS_VM_WRITEV 311 271
        IO_URING_SETUP 425 425
        OPEN_TREE 428 428
        MOVE_MOUNT 429 429
        FSOPEN 430 430
        FSCONFIG 431 431
        FSMOUNT 432 432
        FSPICK 433 433
        MOUNT_SETATTR 442 442
        KEXEC_FILE_LOAD 320 294
        SWAPOFF 168 225
        CHROOT 161 51
        ACCT 163 89
        SETTIMEOFDAY 164 170
        CLOCK_SETTIME 227 112
        SETHOSTNAME 170 161
        SETDOMAINNAME 171 162
        QUOTACTL 179 60
        KCMP 312 272
        PIDFD_GETFD 438 438
        PROCESS_MADVISE 440 440
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_denied_by_its_x32_number_too() {
        let denied: Vec<i64> = denied().collect();
        // execve by its old and its own number, ptrace, unshare, clone.
        for number in [59, 520, 521, 272, 56, 435] {
            assert!(denied.contains(&(number | X32)), "{number}");
        }
        assert!(!denied.contains(&libc_numbers::CLONE), "threads");
    }
}

//! Which process holds the other end of a connection, and its end.
//!
//! The steps run in a network namespace of their own on this machine, so their sockets stand in its `/proc/PID/net/tcp`, and the
//! holder of a socket has it among its `/proc/PID/fd`. Nobody outside of that namespace is ever looked at.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills the processes in the network namespace `/run/netns/NAME` that hold the socket at `at`. How many there were.
///
/// # Errors
/// Where `/proc` can't be read, or a process can't be killed.
pub fn kill_holders(namespace: &str, at: SocketAddrV4) -> io::Result<usize> {
    let inside = processes_in(&Path::new("/run/netns").join(namespace))?;
    let Some(socket) = inside.iter().find_map(|pid| inode(*pid, at)) else { return Ok(0) };
    let mut killed = 0;
    for pid in inside.into_iter().filter(|pid| holds(*pid, socket)) {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        killed += 1;
    }
    Ok(killed)
}

fn processes_in(namespace: &Path) -> io::Result<Vec<i32>> {
    let wanted = std::fs::metadata(namespace)?;
    let mut inside = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(own) = std::fs::metadata(format!("/proc/{pid}/ns/net")) else { continue };
        if (own.dev(), own.ino()) == (wanted.dev(), wanted.ino()) {
            inside.push(pid);
        }
    }
    Ok(inside)
}

/// The inode of the socket at this address, in the namespace of this process.
fn inode(pid: i32, at: SocketAddrV4) -> Option<u64> {
    ["tcp", "tcp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        table.lines().skip(1).find_map(|line| read(line, at))
    })
}

/// The inode in a line of `/proc/net/tcp` (or tcp6, with the IPv4 address mapped into IPv6) whose local address is this.
fn read(line: &str, at: SocketAddrV4) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    // Each group of four bytes stands as a number of this machine's own byte order.
    let address = u32::from_str_radix(address.get(address.len().checked_sub(8)?..)?, 16).ok()?;
    let address = Ipv4Addr::from(address.to_ne_bytes());
    let port = u16::from_str_radix(port, 16).ok()?;
    let inode = words.nth(7)?.parse().ok()?;
    (SocketAddrV4::new(address, port) == at).then_some(inode)
}

fn holds(pid: i32, socket: u64) -> bool {
    let wanted = format!("socket:[{socket}]");
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_is_read() {
        let line =
            "   1: 030912C6:A1B2 010912C6:11D6 01 00000000:00000000 02:000003E8 00000000     0        0 4711 2 0";
        assert_eq!(read(line, "198.18.9.3:41394".parse().unwrap()), Some(4711));
        assert_eq!(read(line, "198.18.9.3:41395".parse().unwrap()), None);
        let mapped = line.replace("030912C6:", "0000000000000000FFFF0000030912C6:");
        assert_eq!(read(&mapped, "198.18.9.3:41394".parse().unwrap()), Some(4711));
        assert_eq!(read("  sl  local_address rem_address", "198.18.9.3:1".parse().unwrap()), None);
    }

    #[test]
    fn who_holds_a_socket_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let SocketAddr::V4(at) = stream.local_addr().unwrap() else { panic!("an IPv4 address") };
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(processes_in(Path::new("/proc/self/ns/net")).unwrap().contains(&own));
        let socket = inode(own, at).unwrap();
        assert!(holds(own, socket));
        drop(stream);
        assert!(!holds(own, socket));
    }
}

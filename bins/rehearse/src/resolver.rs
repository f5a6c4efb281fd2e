//! The resolver of steps and instances: answers balancers' names, passes on all else.
//!
//! What is passed on goes byte by byte, so that nothing is lost that this program doesn't know.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Balancers' names and addresses, as they are now.
pub type Names = watch::Receiver<BTreeMap<String, Vec<Ipv4Addr>>>;

/// The domain of balancers' names. What nobody has below it doesn't exist: the real ones are none of a rehearsal's.
const DOMAIN: &str = ".elb.amazonaws.com";

/// Seconds, as the real balancers' names have it.
const TTL: u32 = 60;

/// How long one nameserver gets for one answer; glibc gives up on us after 5 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often each nameserver is asked: a datagram may be lost.
const ROUNDS: usize = 2;

/// How long a TCP client may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// The size every path carries, as agreed on DNS Flag Day 2020.
const PAYLOAD: u16 = 1232;

/// Answers on both sockets until it is dropped; both must be non-blocking. `upstreams` are asked in their order.
///
/// # Errors
/// Where the sockets can't be used.
pub async fn run(
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    names: Names,
    upstreams: Vec<SocketAddr>,
) -> io::Result<Infallible> {
    let udp = Arc::new(UdpSocket::from_std(udp)?);
    let tcp = TcpListener::from_std(tcp)?;
    let resolver = Arc::new(Resolver { names, upstreams, turn: AtomicUsize::new(0) });
    // Dropped with this future, and all that is under way with it.
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        tokio::select! {
            received = udp.recv_from(&mut buffer) => {
                // An error here is the echo of an answer that did not arrive; it says nothing about the next query.
                let Ok((length, client)) = received else { continue };
                let (query, resolver, udp) = (buffer[..length].to_vec(), Arc::clone(&resolver), Arc::clone(&udp));
                tasks.spawn(async move {
                    if let Some(answer) = resolver.answer(&query, Transport::Udp).await {
                        let _ = udp.send_to(&answer, client).await;
                    }
                });
            }
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(converse(stream, Arc::clone(&resolver)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// The nameservers of a resolv.conf, on port 53.
#[must_use]
pub fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

/// One TCP client's queries, in their order.
async fn converse(mut stream: TcpStream, resolver: Arc<Resolver>) {
    while let Ok(Ok(query)) = timeout(SILENCE, receive(&mut stream)).await {
        let Some(answer) = resolver.answer(&query, Transport::Tcp).await else { return };
        if !matches!(timeout(SILENCE, send(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

struct Resolver {
    names: Names,
    upstreams: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Resolver {
    /// The answer to a query; none to what is no query.
    async fn answer(&self, query: &[u8], by: Transport) -> Option<Vec<u8>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let decision = decide(query, &self.names.borrow(), turn);
        match decision {
            Decision::Ignore => None,
            Decision::Answer(message) => message.to_vec().ok(),
            Decision::PassOn(message) => match self.pass_on(query, by, usize::from(message.max_payload())).await {
                Some(answer) => Some(answer),
                None => reply(&message, ResponseCode::ServFail).to_vec().ok(),
            },
        }
    }

    async fn pass_on(&self, query: &[u8], by: Transport, room: usize) -> Option<Vec<u8>> {
        for upstream in std::iter::repeat_n(&self.upstreams, ROUNDS).flatten() {
            let by_udp = async { timeout(PATIENCE, ask_by_udp(*upstream, query)).await.ok()?.ok() };
            let by_tcp = async { timeout(PATIENCE, ask_by_tcp(*upstream, query)).await.ok()?.ok() };
            let answer = match by {
                Transport::Tcp => match by_tcp.await {
                    Some(answer) => Some(answer),
                    // Some nameservers speak UDP only.
                    None => by_udp.await,
                },
                Transport::Udp => match by_udp.await {
                    Some(short) if is_truncated(&short) => match by_tcp.await {
                        Some(whole) if whole.len() <= room => Some(whole),
                        // The client sees that it is cut and comes back by TCP.
                        _ => Some(short),
                    },
                    other => other,
                },
            };
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

/// What to do with a query.
enum Decision {
    Answer(Message),
    PassOn(Message),
    Ignore,
}

/// Decides by the names there are; `turn` rotates addresses.
fn decide(query: &[u8], names: &BTreeMap<String, Vec<Ipv4Addr>>, turn: usize) -> Decision {
    let query = match Message::from_vec(query) {
        Ok(query) if query.metadata.message_type == MessageType::Query => query,
        Ok(_) => return Decision::Ignore,
        Err(_) => {
            let Some(id) = query.first_chunk::<2>().filter(|_| query.len() >= 12) else { return Decision::Ignore };
            let id = u16::from_be_bytes(*id);
            return Decision::Answer(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
        }
    };
    let [question] = query.queries.as_slice() else { return Decision::PassOn(query) };
    if query.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
        return Decision::PassOn(query);
    }
    let name = question.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    let known = names.iter().find(|(known, _)| known.trim_end_matches('.').eq_ignore_ascii_case(name));
    let Some((_, addresses)) = known else {
        if name.ends_with(DOMAIN) {
            return Decision::Answer(reply(&query, ResponseCode::NXDomain));
        }
        return Decision::PassOn(query);
    };
    let mut answer = reply(&query, ResponseCode::NoError);
    if matches!(question.query_type(), RecordType::A | RecordType::ANY) && !addresses.is_empty() {
        let mut addresses = addresses.clone();
        let first = turn % addresses.len();
        addresses.rotate_left(first);
        answer.add_answers(
            addresses.into_iter().map(|a| Record::from_rdata(question.name().clone(), TTL, RData::A(A(a)))),
        );
    }
    Decision::Answer(answer)
}

/// An answer of our own, without records.
fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&query.metadata);
    answer.metadata.response_code = code;
    answer.metadata.recursion_available = true;
    answer.metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    answer.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        answer.set_edns(edns);
    }
    answer
}

fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0b10 != 0)
}

async fn ask_by_udp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A socket, so a port, for each query: the sender is checked by the kernel and a late answer finds nobody.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut answer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length >= 12 && answer[..2] == query[..2] {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_by_tcp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    send(&mut stream, query).await?;
    receive(&mut stream).await
}

/// A message over TCP: its length in two bytes, then itself (RFC 1035, 4.2.2).
async fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::TXT;

    use super::*;

    const SHOP: &str = "shop-1.us-east-1.elb.amazonaws.com";
    const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 20);
    const SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 21);

    fn names() -> BTreeMap<String, Vec<Ipv4Addr>> {
        BTreeMap::from([(SHOP.to_owned(), vec![FIRST, SECOND])])
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn addresses(answer: &Message) -> Vec<Ipv4Addr> {
        let address = |record: &Record| match record.data {
            RData::A(A(address)) => address,
            ref other => panic!("{other}"),
        };
        answer.answers.iter().map(address).collect()
    }

    /// Bound to both at one port, as run wants them.
    fn sockets() -> (std::net::UdpSocket, std::net::TcpListener, SocketAddr) {
        loop {
            let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let at = tcp.local_addr().unwrap();
            let Ok(udp) = std::net::UdpSocket::bind(at) else { continue };
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            return (udp, tcp, at);
        }
    }

    fn start(names: Names, upstreams: Vec<SocketAddr>) -> SocketAddr {
        let (udp, tcp, at) = sockets();
        tokio::spawn(run(udp, tcp, names, upstreams));
        at
    }

    async fn by_udp(at: SocketAddr, query: &Message) -> Message {
        Message::from_vec(&ask_by_udp(at, &query.to_vec().unwrap()).await.unwrap()).unwrap()
    }

    async fn by_tcp(at: SocketAddr, query: &Message) -> Message {
        Message::from_vec(&ask_by_tcp(at, &query.to_vec().unwrap()).await.unwrap()).unwrap()
    }

    /// A nameserver that says `text` to every query, cut down over UDP where it is long.
    fn upstream(text: &'static str) -> SocketAddr {
        let (udp, tcp, at) = sockets();
        let says = move |query: &[u8], whole: bool| {
            let query = Message::from_vec(query).unwrap();
            let mut answer = reply(&query, ResponseCode::NoError);
            if whole {
                let pieces = text.as_bytes().chunks(255).map(|p| String::from_utf8(p.to_vec()).unwrap()).collect();
                let record = Record::from_rdata(query.queries[0].name().clone(), 1, RData::TXT(TXT::new(pieces)));
                answer.add_answer(record);
            } else {
                answer.metadata.truncation = true;
            }
            answer.to_vec().unwrap()
        };
        tokio::spawn(async move {
            let udp = UdpSocket::from_std(udp).unwrap();
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
                udp.send_to(&says(&buffer[..length], text.len() < 400), client).await.unwrap();
            }
        });
        tokio::spawn(async move {
            let tcp = TcpListener::from_std(tcp).unwrap();
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let query = receive(&mut stream).await.unwrap();
                send(&mut stream, &says(&query, true)).await.unwrap();
            }
        });
        at
    }

    fn text(answer: &Message) -> String {
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[tokio::test]
    async fn a_balancers_name_is_answered_in_any_case_with_its_addresses_in_turn() {
        let (_keep, names) = watch::channel(names());
        let at = start(names, vec![]);
        let asked = query("SHOP-1.us-east-1.ELB.amazonaws.com.", RecordType::A);
        let answer = by_udp(at, &asked).await;
        assert_eq!(answer.metadata.id, asked.metadata.id);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(answer.answers[0].ttl, 60);
        let other = by_tcp(at, &asked).await;
        assert_ne!(addresses(&answer), addresses(&other));
        for mut found in [addresses(&answer), addresses(&other)] {
            found.sort_unstable();
            assert_eq!(found, [FIRST, SECOND]);
        }
        let answer = by_udp(at, &query(SHOP, RecordType::AAAA)).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    }

    #[tokio::test]
    async fn names_come_and_go_and_one_that_nobody_has_does_not_exist() {
        let (change, names) = watch::channel(BTreeMap::new());
        let at = start(names, vec![upstream("never asked")]);
        let asked = query(SHOP, RecordType::A);
        assert_eq!(by_udp(at, &asked).await.metadata.response_code, ResponseCode::NXDomain);
        change.send(super::tests::names()).unwrap();
        assert_eq!(addresses(&by_udp(at, &asked).await).len(), 2);
        change.send(BTreeMap::new()).unwrap();
        assert_eq!(by_tcp(at, &asked).await.metadata.response_code, ResponseCode::NXDomain);
    }

    #[tokio::test]
    async fn all_else_is_passed_on_and_what_is_cut_is_fetched_whole() {
        let (_keep, names) = watch::channel(names());
        let silent = sockets();
        let at = start(names.clone(), vec![upstream("hello")]);
        assert_eq!(text(&by_udp(at, &query("example.com", RecordType::TXT)).await), "hello");
        assert_eq!(text(&by_tcp(at, &query("example.com", RecordType::TXT)).await), "hello");

        let long: &'static str = "long ".repeat(120).leak();
        let at = start(names.clone(), vec![upstream(long)]);
        let mut asked = query("example.com", RecordType::TXT);
        let cut = by_udp(at, &asked).await;
        assert!(cut.metadata.truncation && cut.answers.is_empty(), "no room for it in 512 bytes");
        assert_eq!(text(&by_tcp(at, &asked).await).replace(' ', "").len(), 480);
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        asked.set_edns(edns);
        assert_eq!(text(&by_udp(at, &asked).await).replace(' ', "").len(), 480);

        // The first is asked in vain, the second answers.
        let at = start(names, vec![silent.2, upstream("second")]);
        assert_eq!(text(&by_udp(at, &query("example.com", RecordType::TXT)).await), "second");
    }

    #[tokio::test]
    async fn without_a_nameserver_that_answers_it_is_a_failure_that_is_said() {
        let (_keep, names) = watch::channel(names());
        let (udp, tcp, closed) = sockets();
        drop((udp, tcp));
        let at = start(names, vec![closed]);
        let answer = by_udp(at, &query("example.com", RecordType::A)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }

    #[test]
    fn what_is_no_query_is_refused_or_ignored() {
        let names = names();
        let broken = [&[0x12, 0x34][..], &[0; 2], &[0xff; 20]].concat();
        let Decision::Answer(answer) = decide(&broken, &names, 0) else { panic!("no answer") };
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (0x1234, ResponseCode::FormErr));
        assert!(matches!(decide(b"short", &names, 0), Decision::Ignore));
        let response = reply(&query(SHOP, RecordType::A), ResponseCode::NoError).to_vec().unwrap();
        assert!(matches!(decide(&response, &names, 0), Decision::Ignore));
    }

    #[test]
    fn nameservers_are_read_as_resolv_conf_has_them() {
        let conf =
            "# nameserver 1.1.1.1\nsearch example.com\nnameserver 10.0.0.2\n nameserver\t::1 # here\nnameserver x\n";
        let found: Vec<String> = nameservers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:53", "[::1]:53"]);
    }
}

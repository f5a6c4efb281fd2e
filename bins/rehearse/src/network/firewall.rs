//! The host's packet filter, whatever its own policy: what a cloud's links may reach, and nothing else.

use gyron_core::failure::Result;

use super::{instances_link, steps_link};
use crate::cloud::Cloud;
use crate::install::tool::Tool;

/// Puts this cloud's rules before all others.
pub async fn open(cloud: &Cloud) -> Result<()> {
    close(cloud.number).await?;
    iptables_restore(&rules(cloud.number)).await
}

/// Takes this cloud's rules away.
pub async fn close(number: u8) -> Result<()> {
    for table in ["filter", "nat"] {
        let standing = Tool::new("iptables").args(["-w", "-t", table, "-S"]).run().await?;
        let deletions = deletions(&standing, number);
        if !deletions.is_empty() {
            iptables_restore(&format!("*{table}\n{deletions}COMMIT\n")).await?;
        }
    }
    Ok(())
}

/// Instances leave their namespace with its address: the host knows no way to theirs.
pub async fn masquerade_inside(namespace: &str) -> Result<()> {
    let rule = "*nat\n-F POSTROUTING\n-A POSTROUTING -o uplink -j MASQUERADE\nCOMMIT\n";
    Tool::new("ip").args(["netns", "exec", namespace, "iptables-restore"]).input(rule).run().await.map(drop)
}

async fn iptables_restore(rules: &str) -> Result<()> {
    Tool::new("iptables-restore").args(["-w", "--noflush"]).input(rules).run().await.map(drop)
}

/// The comment that marks a rule as this cloud's.
fn mark(number: u8) -> String {
    format!("gyron-{number}")
}

/// For iptables-restore. Inserted one by one at the top, so written here from the last to the first.
fn rules(number: u8) -> String {
    let own = format!("198.18.{number}.0/24");
    let links = [instances_link(number), steps_link(number)];
    let mut filter = Vec::new();
    // Nobody else's machine asks for the cloud's addresses by sending packets here.
    filter.push(format!("INPUT ! -i lo -d {own} -j DROP"));
    for link in &links {
        // The host itself is out of reach but for the cloud's own addresses, and so is every other cloud.
        filter.push(format!("INPUT -i {link} -j REJECT"));
        filter.push(format!("INPUT -i {link} -d {own} -j ACCEPT"));
        filter.push(format!("FORWARD -o {link} -j REJECT"));
        filter.push(format!("FORWARD -o {link} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"));
        filter.push(format!("FORWARD -i {link} -j ACCEPT"));
        filter.push(format!("FORWARD -i {link} -d 198.18.0.0/15 -j REJECT"));
        // Where the host is an EC2 instance, its own metadata and credentials stay out of reach.
        filter.push(format!("FORWARD -i {link} -d 169.254.0.0/16 -j REJECT"));
    }
    let nat = format!("POSTROUTING -s {own} ! -d 198.18.0.0/15 -j MASQUERADE");
    let line = |rule: &String| {
        let (chain, rest) = rule.split_once(' ').unwrap_or((rule, ""));
        format!("-I {chain} 1 -m comment --comment {} {rest}\n", mark(number))
    };
    format!("*filter\n{}COMMIT\n*nat\n{}COMMIT\n", filter.iter().map(line).collect::<String>(), line(&nat))
}

/// From what `iptables -S` prints, the lines that delete this cloud's rules.
fn deletions(standing: &str, number: u8) -> String {
    let mark = mark(number);
    standing
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace();
            words.any(|word| word == "--comment") && words.next().is_some_and(|word| word.trim_matches('"') == mark)
        })
        .filter_map(|line| Some(format!("-D {}\n", line.strip_prefix("-A ")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clouds_own_rules_are_deleted() {
        let standing = "-P INPUT ACCEPT\n\
            -A INPUT -i gy1i -m comment --comment gyron-1 -j REJECT --reject-with icmp-port-unreachable\n\
            -A INPUT -i gy11i -m comment --comment gyron-11 -j REJECT\n\
            -A FORWARD -i gy1s -m comment --comment \"gyron-1\" -j ACCEPT\n\
            -A FORWARD -j DROP\n";
        assert_eq!(
            deletions(standing, 1),
            "-D INPUT -i gy1i -m comment --comment gyron-1 -j REJECT --reject-with icmp-port-unreachable\n\
             -D FORWARD -i gy1s -m comment --comment \"gyron-1\" -j ACCEPT\n"
        );
    }

    #[test]
    fn every_rule_carries_the_clouds_mark() {
        let rules = rules(3);
        for rule in rules.lines().filter(|line| line.starts_with('-')) {
            assert!(rule.contains("--comment gyron-3 "), "{rule}");
        }
    }
}

//! What the numbers were taken on.

use std::fs;

/// Processor, cores, kernel and memory, in one line.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpu = read("/proc/cpuinfo");
    let model = field(&cpu, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let virtual_machine = cpu.contains("hypervisor");
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: String = kernel.trim().split('-').take(1).collect();
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(String::new, |kib| {
            format!(", {:.0} GiB", kib / (1024.0 * 1024.0))
        });
    let kind = if virtual_machine {
        " of a virtual machine"
    } else {
        ""
    };
    format!("{model}, {cores} cores{kind}, Linux {kernel}{memory}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_has_cores_and_a_kernel() {
        let text = super::describe();
        assert!(
            text.contains("Linux ") && !text.contains(", 0 cores"),
            "{text}"
        );
    }
}

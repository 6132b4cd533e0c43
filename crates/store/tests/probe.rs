use std::{sync::{Arc, Mutex}, time::Instant, ops::ControlFlow};
use fanfare_hub::{ids::*, jobs::{job::*, ledger::*}, json::JsonText, limits, ports::store::*, registry::*, time::Timestamp, twin::document::*};
use fanfare_store::Embedded;
use roaring::RoaringBitmap;
const T: Timestamp = Timestamp(1_927_857_906_000_000);
fn plan(op: Operation) -> JobPlan { JobPlan { condition: "*".into(), space: Space::Devices, operation: op, start: None, window_seconds: 60 } }
fn method() -> JobPlan { plan(Operation::Method(MethodOperation { name: MethodName::parse("m").unwrap(), payload: JsonText::null(), response_seconds: 5, connect_seconds: None })) }
async fn start(s: &Arc<Embedded>, name: &str, p: JobPlan, n: std::ops::RangeInclusive<u32>) -> Job {
    let JobInserted::Accepted(job) = s.job_insert(JobId::parse(name).unwrap(), p, T, limits::JOB_RETRY_WINDOW).await.unwrap() else { panic!() };
    let all: RoaringBitmap = n.into_iter().collect();
    for c in 0..=(all.max().unwrap() >> 16) { let r: RoaringBitmap = all.range(c<<16..=(c<<16)+65535).collect(); if !r.is_empty() { s.job_targets_add(job.number, s.term(), r).await.unwrap(); } }
    let t = Instant::now();
    let job = s.job_seal(job.number, s.term(), T).await.unwrap();
    println!("  seal {name}: {:?}", t.elapsed());
    job
}
fn cpu() -> f64 { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 }
async fn settle(s: &Arc<Embedded>, name: &str, order: &[u32], batch: usize, dispatch: bool) {
    let max = *order.iter().max().unwrap();
    let job = start(s, name, method(), 1..=max).await;
    let payload = JsonText::parse(br#"{"result":"ok","n":12345,"text":"aaaaaaaaaaaaaaaaaaaaaaaaa"}"#);
    let (t, c, k) = (Instant::now(), cpu(), s.commits());
    let mut call = 0;
    for g in order.chunks(batch) {
        let mut r = JobRecords { job: job.number, dispatched: vec![], withdrawn: vec![], settled: vec![] };
        if dispatch {
            let mut d = r.clone();
            d.dispatched = g.iter().map(|o| { call += 1; (*o, CallId { term: s.term(), number: call }) }).collect();
            s.job_journal(s.term(), vec![d], T).await.unwrap();
        }
        r.settled = g.iter().map(|o| Settled { ordinal: *o, outcome: Outcome::Answered { status: 200, payload: payload.clone() }, at: T }).collect();
        s.job_journal(s.term(), vec![r], T).await.unwrap();
    }
    let (d, c) = (t.elapsed().as_secs_f64(), cpu() - c);
    println!("{name}: {} outcomes, batch {batch}: {:.2}s = {:.0}/s, cpu {:.2}us each, commits {}", order.len(), d, order.len() as f64 / d, c * 1e6 / order.len() as f64, s.commits() - k);
}
#[tokio::test]
async fn probe() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let s = Arc::new(Embedded::open(&path).unwrap());
    let t = Instant::now();
    for c in 0..100 {
        let w = (0..1000).map(|n| IdentityWrite::Put { id: IdentityId::device(DeviceId::parse(&format!("dev-{c}-{n}")).unwrap()), settings: IdentitySettings { status: Status::Enabled, status_reason: None, authentication: Authentication::None, edge: false, device_scope: None, parent_scopes: vec![] }, precondition: Precondition::Absent, twin: None }).collect();
        s.identity_write(w, T).await.unwrap();
    }
    println!("100,000 identities: {:?}", t.elapsed());
    let n = 1_000_000u32;
    let ordered: Vec<u32> = (1..=n).collect();
    let random: Vec<u32> = (0..n as u64).map(|i| (i * 7_368_787 % 1_000_003) as u32).filter(|o| *o >= 1 && *o <= n).collect();
    settle(&s, "ordered-1000", &ordered, 1000, false).await;
    settle(&s, "random-1000", &random, 1000, false).await;
    settle(&s, "ordered-25-d", &ordered[..200_000], 25, true).await;
    let r: Vec<u32> = (0..200_000u64).map(|i| (i * 7_368_787 % 200_003) as u32).filter(|o| *o >= 1 && *o <= 200_000).collect();
    settle(&s, "random-25-d", &r, 25, true).await;
    settle(&s, "random-1000-d", &random, 1000, true).await;
    // twin
    let m = |k: &str| { let mut o = Object::new(); o.insert(k.into(), serde_json::json!("43")); o.insert("floor".into(), serde_json::json!(3)); SectionPatch::Merge(o) };
    for round in 0..2 {
        let p = plan(Operation::Twin(TwinOperation { patch: TwinPatch::new(SectionPatch::Absent, m("building")).unwrap(), echo: JsonText::null() }));
        let job = start(&s, &format!("twin{round}"), p, 1..=100_000).await;
        let (t, c, k) = (Instant::now(), cpu(), s.commits());
        for g in (1..=100_000u32).collect::<Vec<_>>().chunks(1000) { s.job_twin_page(job.number, s.term(), g.to_vec(), T).await.unwrap(); }
        let d = t.elapsed().as_secs_f64();
        println!("twin pages round {round}: {:.2}s = {:.0}/s cpu {:.2}us commits {}", d, 1e5 / d, (cpu() - c) * 10.0, s.commits() - k);
        // paging rows of it
        for size in [100usize, 1000] {
        let t = Instant::now(); let mut after = Some((job.number, 0)); let mut rows = 0;
        loop {
            let last = Arc::new(Mutex::new(None)); let l2 = last.clone(); let mut c = 0;
            s.device_job_scan(DeviceJobScan { after, jobs: Some(vec![job.id.clone()]), devices: None }, Box::new(move |r| { c += 1; *l2.lock().unwrap() = Some((r.job.number, r.ordinal, c)); if c >= size { ControlFlow::Break(()) } else { ControlFlow::Continue(()) } })).await.unwrap();
            let Some((j, o, c)) = *last.lock().unwrap() else { break }; rows += c; after = Some((j, o));
            if rows > 20_000 { break }
        }
        println!("  pages of {size}: {:.1}us a row", t.elapsed().as_secs_f64() * 1e6 / rows as f64);
        }
    }
    // many small jobs
    let (t, k) = (Instant::now(), s.commits());
    let mut jobs = vec![];
    for j in 0..2000u32 { 
        let JobInserted::Accepted(job) = s.job_insert(JobId::parse(&format!("small-{j}")).unwrap(), method(), T, limits::JOB_RETRY_WINDOW).await.unwrap() else { panic!() };
        let set: RoaringBitmap = (j * 5 + 1..=j * 5 + 5).collect();
        s.job_targets_add(job.number, s.term(), set).await.unwrap();
        s.job_seal(job.number, s.term(), T).await.unwrap(); jobs.push((job.number, j)); }
    println!("2000 small jobs started: {:?}, commits {}", t.elapsed(), s.commits() - k);
    let (t, k, c) = (Instant::now(), s.commits(), cpu());
    for i in 0..5 { for g in jobs.chunks(1000) {
        let b = g.iter().map(|(n, j)| JobRecords { job: *n, dispatched: vec![], withdrawn: vec![], settled: vec![Settled { ordinal: j * 5 + 1 + i, outcome: Outcome::TimedOut, at: T }] }).collect();
        s.job_journal(s.term(), b, T).await.unwrap(); } }
    println!("their 10,000 outcomes in batches over 1000 jobs: {:?}, commits {}, cpu {:.1}us each", t.elapsed(), s.commits() - k, (cpu() - c) * 100.0);
    let t = Instant::now(); let mut steps = 0;
    while s.job_expire(Timestamp(T.0 + 1), 10).await.unwrap() > 0 { steps += 1; }
    println!("expire all: {:?} in {steps} steps", t.elapsed());
    println!("file {} MB, wal {} MB", std::fs::metadata(&path).unwrap().len() >> 20, std::fs::metadata(path.with_extension("db-wal")).map_or(0, |m| m.len()) >> 20);
}

//! Import and export jobs: how many at once, who may move one, what is kept of it.

use fanfare_hub::{
    access::Actor,
    ids::{JobId, Term},
    ports::{store::StoreError, transfers::TransferCanceled},
    transfers::{
        BlobName, ContainerUri, Direction, StorageAuthentication, Transfer, TransferEnd,
        TransferNumber, TransferRequest, TransferState,
    },
};

use super::{Scratch, at};

const SIGNED: &str = "https://a.blob.core.windows.net/c?sv=1&sig=secret";

fn export() -> TransferRequest {
    TransferRequest {
        direction: Direction::Export {
            output: ContainerUri::new(SIGNED),
            blob: BlobName::devices(),
            with_keys: false,
        },
        authentication: Some(StorageAuthentication::Key),
        configurations: Some(BlobName::configurations()),
        creator: Some(Actor::Policy("registryReadWrite".into())),
    }
}

fn id(name: &str) -> JobId {
    JobId::parse(name).expect("tests use valid names")
}

async fn accepted(scratch: &Scratch, name: &str, second: i64) -> Transfer {
    let store = scratch.store();
    let job = store
        .transfer_insert(id(name), export(), at(second), 9)
        .await;
    job.unwrap().expect("there is room")
}

pub(crate) async fn no_more_are_active_than_allowed(scratch: Scratch) {
    let store = scratch.store();
    let insert = |name: &str| store.transfer_insert(id(name), export(), at(0), 1);
    let first = insert("a").await.unwrap().unwrap();
    assert_eq!(first.state, TransferState::Waiting);
    assert_eq!(insert("b").await.unwrap(), None);
    let running = store
        .transfer_begin(first.number, store.term(), at(1))
        .await
        .unwrap();
    assert_eq!(
        (running.state, running.started),
        (TransferState::Running, Some(at(1)))
    );
    assert_eq!(insert("b").await.unwrap(), None);
    let end = TransferEnd::Completed;
    store
        .transfer_end(first.number, store.term(), end, at(2))
        .await
        .unwrap();
    let second = insert("b").await.unwrap().unwrap();
    assert!(second.number > first.number);
    let listed = store.transfer_list(9).await.unwrap();
    let names: Vec<_> = listed.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(store.transfer_list(1).await.unwrap().len(), 1);
    assert_eq!(store.transfer_next().await.unwrap(), Some(second));
    assert_eq!(store.transfer_get(&id("c")).await.unwrap(), None);
}

pub(crate) async fn a_running_job_survives_and_begins_again(mut scratch: Scratch) {
    let job = accepted(&scratch, "a", 0).await;
    let old = scratch.store().term();
    scratch
        .store()
        .transfer_begin(job.number, old, at(1))
        .await
        .unwrap();
    scratch
        .store()
        .transfer_progress(job.number, old, 40)
        .await
        .unwrap();
    scratch.reopen();
    let store = scratch.store();
    let found = store.transfer_next().await.unwrap().unwrap();
    assert_eq!((found.percent, &found.state), (40, &TransferState::Running));
    assert_eq!(
        found.request,
        export(),
        "an active job keeps what opens its containers"
    );
    for refused in [
        store.transfer_begin(job.number, old, at(2)).await.map(drop),
        store.transfer_progress(job.number, old, 50).await,
        store
            .transfer_end(job.number, old, TransferEnd::Completed, at(2))
            .await
            .map(drop),
    ] {
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    }
    let again = store
        .transfer_begin(job.number, store.term(), at(3))
        .await
        .unwrap();
    assert_eq!((again.percent, again.started), (0, Some(at(1))));
    assert_ne!(old, store.term());
}

pub(crate) async fn a_transfer_ends_once_and_forgets_its_secrets(mut scratch: Scratch) {
    let ends = [
        TransferEnd::Completed,
        TransferEnd::Failed("the disk is full".into()),
        TransferEnd::Cancelled,
    ];
    for (index, end) in ends.into_iter().enumerate() {
        let name = format!("job-{index}");
        let job = accepted(&scratch, &name, 0).await;
        let store = scratch.store();
        let term = store.term();
        let ended = match &end {
            TransferEnd::Cancelled => match store.transfer_cancel(&id(&name), at(5)).await.unwrap()
            {
                TransferCanceled::Done(job) => job,
                other => panic!("{other:?}"),
            },
            end => store
                .transfer_end(job.number, term, end.clone(), at(5))
                .await
                .unwrap(),
        };
        assert_eq!(ended.state, TransferState::Ended { end, at: at(5) });
        let Direction::Export { output, .. } = &ended.request.direction else {
            panic!("it is an export");
        };
        assert!(!output.expose().contains("secret"), "{}", output.expose());
        let later = store
            .transfer_end(job.number, term, TransferEnd::Completed, at(6))
            .await;
        assert_eq!(later.unwrap(), ended);
        assert_eq!(
            store.transfer_begin(job.number, term, at(6)).await.unwrap(),
            ended
        );
        store.transfer_progress(job.number, term, 1).await.unwrap();
        let late = store.transfer_cancel(&id(&name), at(6)).await.unwrap();
        assert_eq!(late, TransferCanceled::TooLate(ended.clone()));
        drop(store);
        scratch.reopen();
        assert_eq!(
            scratch.store().transfer_get(&id(&name)).await.unwrap(),
            Some(ended)
        );
    }
    let store = scratch.store();
    assert_eq!(store.transfer_next().await.unwrap(), None);
    let nothing = store.transfer_cancel(&id("nothing"), at(6)).await.unwrap();
    assert_eq!(nothing, TransferCanceled::Absent);
    let nothing = store
        .transfer_begin(TransferNumber(99), store.term(), at(6))
        .await;
    assert!(matches!(nothing, Err(StoreError::Absent(_))), "{nothing:?}");
    assert_ne!(store.term(), Term(0));
}

pub(crate) async fn ended_transfers_expire_oldest_first(scratch: Scratch) {
    let store = scratch.store();
    for (name, end) in [("c", 30), ("a", 10), ("b", 20)] {
        accepted(&scratch, name, 0).await;
        store.transfer_cancel(&id(name), at(end)).await.unwrap();
    }
    accepted(&scratch, "active", 0).await;
    assert_eq!(store.transfer_expire(at(10), 9).await.unwrap(), 0);
    assert_eq!(store.transfer_expire(at(99), 1).await.unwrap(), 1);
    assert_eq!(store.transfer_get(&id("a")).await.unwrap(), None);
    assert_eq!(store.transfer_expire(at(30), 9).await.unwrap(), 1);
    let left = store.transfer_list(9).await.unwrap();
    let names: Vec<_> = left.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(names, ["active", "c"]);
}

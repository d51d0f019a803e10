PRAGMA application_id = 1313755734;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE assignment (
            place INTEGER PRIMARY KEY,
            number INTEGER NOT NULL UNIQUE,
            image TEXT NOT NULL REFERENCES image (id),
            repeat INTEGER NOT NULL CHECK (repeat IN (0, 1)),
            candidates TEXT NOT NULL
        ) STRICT;
INSERT INTO "assignment" VALUES(1,1,'case-001',0,'["case-001/1","case-001/2","case-001/3"]');
CREATE TABLE blob (
            digest TEXT PRIMARY KEY NOT NULL,
            data BLOB NOT NULL
        ) STRICT;
INSERT INTO "blob" VALUES('8953b44cc68bd6e0490a526793f0a694356802a53b9e2c1bc6c29f3fd983cb26',X'4E4E4D31040000000400000004000000000000000100000001000000030000000200000003000000789C3B000000C100C1');
INSERT INTO "blob" VALUES('81f364ddea0daaabfd325635b022244486cdc390458faafedcd1e9f8f2ddc9a5',X'4E4E4D31040000000400000004000000010000000200000001000000030000000200000003000000789C3B000000C100C1');
INSERT INTO "blob" VALUES('7b35b9993354050ae32fd8d5b6c144fb861e63d2c905b20e62a269f49bc611a3',X'4E4E4D31040000000400000004000000020000000300000001000000030000000200000003000000789C3B000000C100C1');
CREATE TABLE candidate (
            place INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            image TEXT NOT NULL REFERENCES image (id),
            value INTEGER NOT NULL,
            sign INTEGER NOT NULL,
            peak_z REAL NOT NULL,
            mean_z REAL NOT NULL,
            volume_ml REAL NOT NULL,
            centroid_mm TEXT NOT NULL,
            p REAL,
            mask TEXT NOT NULL REFERENCES blob (digest)
        ) STRICT;
INSERT INTO "candidate" VALUES(1,'case-001/1','case-001',1,-1,3.1,1.0,0.5,'[0.1,-0.14285714285714285,5e-324]',NULL,'8953b44cc68bd6e0490a526793f0a694356802a53b9e2c1bc6c29f3fd983cb26');
INSERT INTO "candidate" VALUES(2,'case-001/2','case-001',2,1,6.2,0.5,1.0,'[0.1,-0.2857142857142857,5e-324]',0.02,'81f364ddea0daaabfd325635b022244486cdc390458faafedcd1e9f8f2ddc9a5');
INSERT INTO "candidate" VALUES(3,'case-001/3','case-001',3,-1,9.3,3.33333333333333314829e-01,1.5,'[0.1,-0.42857142857142855,5e-324]',0.03,'7b35b9993354050ae32fd8d5b6c144fb861e63d2c905b20e62a269f49bc611a3');
CREATE TABLE event (
            number INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number > 0),
            id TEXT NOT NULL UNIQUE,
            at TEXT NOT NULL,
            reader TEXT NOT NULL,
            action TEXT NOT NULL,
            assignment INTEGER NOT NULL,
            candidate TEXT NOT NULL,
            details TEXT NOT NULL,
            reverts TEXT NOT NULL,
            previous TEXT NOT NULL,
            digest TEXT NOT NULL
        ) STRICT;
INSERT INTO "event" VALUES(1,'00000000000000000000000000000001','2026-01-03T10:00:01.000+00:00','reader-c412c2a0','open',0,'','{}','','6d387c476ceb224e78752031c1e3e72a604af85e602708dd45dcbb1f58f21ef2','48bf5cf3febe49903cd6169a2ae411db7773d082f1658a1953d9492c716d6fe0');
INSERT INTO "event" VALUES(2,'00000000000000000000000000000002','2026-01-03T10:00:02.000+00:00','reader-c412c2a0','accept',1,'case-001/1','{"seconds":4.25}','','48bf5cf3febe49903cd6169a2ae411db7773d082f1658a1953d9492c716d6fe0','6cef84692f3c13097f869d81de05574d24dab5f79d2628b9b5098bd8d14219a2');
INSERT INTO "event" VALUES(3,'00000000000000000000000000000003','2026-01-03T10:00:03.000+00:00','reader-c412c2a0','comment',1,'case-001/1','{"comment":"gr\u00f6\u00dfer als links\n"}','','6cef84692f3c13097f869d81de05574d24dab5f79d2628b9b5098bd8d14219a2','ff3520bb902e5e00089b7fb53dc8f817a041490b12a6795f5efa105cd0fcadbe');
INSERT INTO "event" VALUES(4,'00000000000000000000000000000004','2026-01-03T10:00:04.000+00:00','reader-c412c2a0','reject',1,'case-001/2','{"seconds":2.5}','','ff3520bb902e5e00089b7fb53dc8f817a041490b12a6795f5efa105cd0fcadbe','4164c071771b5ddd3d549fc9d092e3c406a946a394a1b8fc8ed82c8e43eb7a60');
CREATE TABLE image (
            place INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            path TEXT NOT NULL,
            digest TEXT NOT NULL,
            shape TEXT NOT NULL,
            affine TEXT NOT NULL,
            folder TEXT NOT NULL,
            score REAL,
            score_p REAL,
            foreground_ml REAL
        ) STRICT;
INSERT INTO "image" VALUES(1,'case-001','../scans/Grüße 1.nii.gz','0000000000000000000000000000000000000000000000000000000000000001','[4,4,4]','[[1.1,0.2,1e-17,-90.0],[0.0,3.141592653589793,0.0,0.3333333333333333],[0,0,2,5e-324],[0,0,0,1]]','found/1',0.1,NULL,NULL);
CREATE TABLE meta (
            id TEXT NOT NULL,
            title TEXT NOT NULL,
            "order" TEXT NOT NULL,
            seed INTEGER NOT NULL,
            blind INTEGER NOT NULL CHECK (blind IN (0, 1)),
            labels TEXT NOT NULL,
            created_utc TEXT NOT NULL,
            digest TEXT NOT NULL
        ) STRICT;
INSERT INTO "meta" VALUES('0123456789abcdef','A study of version 1','evidence',42,1,'["tumour","artefact"]','2026-01-02T03:04:05.678+00:00','6d387c476ceb224e78752031c1e3e72a604af85e602708dd45dcbb1f58f21ef2');
CREATE TABLE reader (
            reader TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('reader', 'adjudicator'))
        ) STRICT;
INSERT INTO "reader" VALUES('Reader One','reader');
CREATE TABLE run (
            place INTEGER PRIMARY KEY,
            image TEXT NOT NULL REFERENCES image (id),
            model TEXT NOT NULL,
            model_digest TEXT NOT NULL,
            software TEXT NOT NULL,
            created_utc TEXT NOT NULL,
            threshold_z REAL NOT NULL
        ) STRICT;
INSERT INTO "run" VALUES(1,'case-001','brain-t1','abababababababababababababababababababababababababababababababab','0.1.0','2026-01-02T03:04:05+00:00',3.7);
CREATE TRIGGER meta_insert BEFORE INSERT ON meta  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER meta_update BEFORE UPDATE ON meta  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER meta_delete BEFORE DELETE ON meta  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER reader_insert BEFORE INSERT ON reader  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER reader_update BEFORE UPDATE ON reader  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER reader_delete BEFORE DELETE ON reader  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER blob_insert BEFORE INSERT ON blob WHEN EXISTS (SELECT 1 FROM blob WHERE digest = NEW.digest) BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER blob_update BEFORE UPDATE ON blob  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER blob_delete BEFORE DELETE ON blob  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER image_insert BEFORE INSERT ON image  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER image_update BEFORE UPDATE ON image  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER image_delete BEFORE DELETE ON image  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER run_insert BEFORE INSERT ON run  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER run_update BEFORE UPDATE ON run  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER run_delete BEFORE DELETE ON run  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER candidate_insert BEFORE INSERT ON candidate  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER candidate_update BEFORE UPDATE ON candidate  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER candidate_delete BEFORE DELETE ON candidate  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER assignment_insert BEFORE INSERT ON assignment  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER assignment_update BEFORE UPDATE ON assignment  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER assignment_delete BEFORE DELETE ON assignment  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER event_insert BEFORE INSERT ON event WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM event) OR EXISTS (SELECT 1 FROM event WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER event_update BEFORE UPDATE ON event  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
CREATE TRIGGER event_delete BEFORE DELETE ON event  BEGIN SELECT RAISE(ABORT, 'a review is only added to'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('event',4);
COMMIT;

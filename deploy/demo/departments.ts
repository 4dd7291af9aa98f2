// The three departments of the demo, each with a business database of its own in SQLite, as their systems would have them.
// Chinese practice decides the fields: certificates by number, identity numbers as text, money as text with two decimals.

import { seededRandom } from '@qiao/testkit';
import Database from 'better-sqlite3';
import { makePerson, type Person, randomDay } from './identity.ts';

export interface DepartmentFiles {
  readonly health: string;
  readonly socialSecurity: string;
  readonly civilAffairs: string;
}

const BIRTHS = 5_000;
const DEATHS = 2_500;
const INSURED = 6_000;
const BENEFITS = 1_200;

/** Of the benefit holders, how many have died and how many earn a wage, before the exchange shows it. */
const DEAD_HOLDERS = 7;
const EARNING_HOLDERS = 11;

/** Makes the three databases and fills them. Returns the benefit holder who will die during the demo. */
export function makeDepartments(files: DepartmentFiles): Person {
  const random = seededRandom(20_261_001);
  const people = uniquePeople(random, 12_000);
  const holders = people.slice(0, BENEFITS);
  fillCivilAffairs(files.civilAffairs, holders, random);
  fillHealth(
    files.health,
    [...holders.slice(0, DEAD_HOLDERS), ...people.slice(6_000, 6_000 + DEATHS - DEAD_HOLDERS)],
    random,
  );
  const earning = holders.slice(100, 100 + EARNING_HOLDERS);
  fillSocialSecurity(
    files.socialSecurity,
    [...earning, ...people.slice(2_000, 2_000 + INSURED - EARNING_HOLDERS)],
    earning.length,
    random,
  );
  return holders[42] as Person;
}

function uniquePeople(random: () => number, count: number): Person[] {
  const people = new Map<string, Person>();
  while (people.size < count) {
    const person = makePerson(random, 1940, 2000);
    people.set(person.idNo, person);
  }
  return [...people.values()];
}

function fillHealth(file: string, dead: readonly Person[], random: () => number): void {
  write(file, (db) => {
    db.exec(`
      CREATE TABLE birth_certificate (   -- 出生医学证明
        certificate_no TEXT PRIMARY KEY NOT NULL, baby_name TEXT NOT NULL, sex TEXT NOT NULL, birth_date DATE NOT NULL,
        weight_g INTEGER, hospital TEXT NOT NULL, mother_name TEXT NOT NULL, mother_id_no TEXT NOT NULL, issued_on DATE NOT NULL);
      CREATE TABLE death_certificate (   -- 死亡医学证明
        certificate_no TEXT PRIMARY KEY NOT NULL, id_no TEXT NOT NULL, name TEXT NOT NULL, sex TEXT NOT NULL,
        died_on DATE NOT NULL, place TEXT, institution TEXT NOT NULL, issued_on DATE NOT NULL);`);
    const birth = db.prepare('INSERT INTO birth_certificate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
    for (let n = 1; n <= BIRTHS; n += 1) {
      const baby = makePerson(random, 2024, 2026);
      const mother = makePerson(random, 1985, 2004);
      birth.run(
        certificateNo('T37', n),
        baby.name,
        baby.sex,
        baby.birthDate,
        2400 + Math.floor(random() * 1800),
        hospital(random),
        mother.name,
        mother.idNo,
        baby.birthDate,
      );
    }
    const death = db.prepare('INSERT INTO death_certificate VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
    for (const [index, person] of dead.entries()) {
      const day = randomDay(random, 2025, 2025);
      death.run(
        certificateNo('S37', index + 1),
        person.idNo,
        person.name,
        person.sex,
        day,
        random() < 0.7 ? '医院' : '家中',
        hospital(random),
        day,
      );
    }
  });
}

function fillSocialSecurity(file: string, insured: readonly Person[], earning: number, random: () => number): void {
  write(file, (db) => {
    db.exec(`
      CREATE TABLE insurance_record (   -- 职工养老保险参保缴费
        id_no TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, employer TEXT NOT NULL, employer_code TEXT NOT NULL,
        monthly_wage DECIMAL(10,2) NOT NULL, status TEXT NOT NULL, paid_through TEXT NOT NULL, phone TEXT);`);
    const record = db.prepare('INSERT INTO insurance_record VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
    for (const [index, person] of insured.entries()) {
      const isPaying = index < earning || random() < 0.8;
      const wage = index < earning ? 5200 + index * 130 : 2200 + Math.floor(random() * 9000);
      const unit = Math.floor(random() * 400);
      record.run(
        person.idNo,
        person.name,
        `青岛第${unit}工程有限公司`,
        `9137020${String(10_000_000 + unit)}MA`,
        `${wage}.00`,
        isPaying ? '1' : '3',
        '202610',
        `1${String(3_000_000_000 + Math.floor(random() * 6_000_000_000))}`,
      );
    }
  });
}

function fillCivilAffairs(file: string, holders: readonly Person[], random: () => number): void {
  write(file, (db) => {
    db.exec(`
      CREATE TABLE benefit (   -- 低保对象
        id_no TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, household_no TEXT NOT NULL, monthly_amount TEXT NOT NULL,
        granted_on DATE NOT NULL, status TEXT NOT NULL);`);
    const benefit = db.prepare('INSERT INTO benefit VALUES (?, ?, ?, ?, ?, ?)');
    for (const [index, person] of holders.entries()) {
      benefit.run(
        person.idNo,
        person.name,
        `QD${String(index + 1).padStart(6, '0')}`,
        `${680 + Math.floor(random() * 300)}.00`,
        randomDay(random, 2021, 2024),
        '在保',
      );
    }
  });
}

/** A day's work at the sources: births and deaths registered, wages corrected, a certificate withdrawn. Returns what was done. */
export function workADay(files: DepartmentFiles, dying: Person): { inserts: number; updates: number; deletes: number } {
  const random = seededRandom(7);
  write(files.health, (db) => {
    const birth = db.prepare('INSERT INTO birth_certificate VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
    for (let n = BIRTHS + 1; n <= BIRTHS + 120; n += 1) {
      const baby = makePerson(random, 2026, 2026);
      const mother = makePerson(random, 1990, 2004);
      birth.run(
        certificateNo('T37', n),
        baby.name,
        baby.sex,
        baby.birthDate,
        3100,
        hospital(random),
        mother.name,
        mother.idNo,
        '2026-11-20',
      );
    }
    db.prepare("UPDATE birth_certificate SET baby_name = baby_name || '宁' WHERE certificate_no BETWEEN ? AND ?").run(
      certificateNo('T37', 1),
      certificateNo('T37', 40),
    );
    db.prepare('DELETE FROM birth_certificate WHERE certificate_no BETWEEN ? AND ?').run(
      certificateNo('T37', 201),
      certificateNo('T37', 215),
    );
    db.prepare('INSERT INTO death_certificate VALUES (?, ?, ?, ?, ?, ?, ?, ?)').run(
      certificateNo('S37', DEATHS + 1),
      dying.idNo,
      dying.name,
      dying.sex,
      '2026-11-19',
      '医院',
      hospital(random),
      '2026-11-20',
    );
  });
  write(files.socialSecurity, (db) => {
    db.exec("UPDATE insurance_record SET monthly_wage = '6100.00', paid_through = '202611' WHERE rowid % 60 = 0");
    db.exec('DELETE FROM insurance_record WHERE rowid % 500 = 400');
  });
  return { inserts: 121, updates: 40 + 100, deletes: 15 + 12 };
}

function certificateNo(prefix: string, n: number): string {
  return `${prefix}${String(n).padStart(7, '0')}`;
}

function hospital(random: () => number): string {
  const names = ['青岛市妇女儿童医院', '青岛大学附属医院', '青岛市市立医院', '胶州市中心医院', '平度市人民医院'];
  return names[Math.floor(random() * names.length)] as string;
}

function write(file: string, work: (db: Database.Database) => void): void {
  const db = new Database(file);
  try {
    db.pragma('journal_mode = WAL');
    db.transaction(() => work(db))();
  } finally {
    db.close();
  }
}

export interface Finding {
  readonly id_no: string;
  readonly name: string;
  readonly monthly_amount: string;
  readonly why: string;
}

/** What a clerk at civil affairs asks: benefit holders whom the exchanged tables show dead, or earning a wage. */
export function findBenefitsToStop(civilAffairsFile: string, exchangeTablesFile: string): Finding[] {
  const db = new Database(civilAffairsFile, { readonly: true });
  try {
    db.prepare('ATTACH DATABASE ? AS exchange').run(exchangeTablesFile);
    return db
      .prepare(
        `SELECT b.id_no, b.name, b.monthly_amount, '已于 ' || d.died_on || ' 死亡' AS why
           FROM benefit b JOIN exchange.ex_death_certificate d ON d.id_no = b.id_no WHERE b.status = '在保'
         UNION ALL
         SELECT b.id_no, b.name, b.monthly_amount, '在职参保，月工资 ' || i.monthly_wage
           FROM benefit b JOIN exchange.ex_insurance_record i ON i.id_no = b.id_no
          WHERE b.status = '在保' AND i.status_code = '1' AND CAST(i.monthly_wage AS REAL) > 5000
         ORDER BY why, b.id_no`,
      )
      .all() as Finding[];
  } finally {
    db.close();
  }
}

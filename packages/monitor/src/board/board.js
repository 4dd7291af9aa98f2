// The health board's page: asks the monitor every few seconds and shows the answer. Text is set as text, never as markup.

const REFRESH_MS = 3000;

const WORDS = {
  zh: {
    VERDICT_BALANCED: '平',
    VERDICT_EXPLAINED: '已说明',
    VERDICT_IN_FLIGHT: '在途',
    VERDICT_OPEN: '待处理',
    VERDICT_DEVIATION: '偏差',
    VERDICT_UNSPECIFIED: '尚无数据',
    SERVICE_CONDITION_RUNNING: '正常',
    SERVICE_CONDITION_STOPPED: '停止',
    SERVICE_CONDITION_RETRYING: '重试',
    SERVICE_CONDITION_STUCK: '阻塞',
    SERVICE_CONDITION_UNSPECIFIED: '未知',
    none: '无',
    silent: '失联',
    alive: '在线',
    gone: '监控无应答，正在重试',
    closed: '会话已结束：请用 qiao monitor board 重新打开',
  },
  en: {
    VERDICT_BALANCED: 'balanced',
    VERDICT_EXPLAINED: 'explained',
    VERDICT_IN_FLIGHT: 'in flight',
    VERDICT_OPEN: 'open',
    VERDICT_DEVIATION: 'deviation',
    VERDICT_UNSPECIFIED: 'nothing yet',
    SERVICE_CONDITION_RUNNING: 'running',
    SERVICE_CONDITION_STOPPED: 'stopped',
    SERVICE_CONDITION_RETRYING: 'retrying',
    SERVICE_CONDITION_STUCK: 'stuck',
    SERVICE_CONDITION_UNSPECIFIED: 'unknown',
    none: 'none',
    silent: 'silent',
    alive: 'alive',
    gone: 'the monitor does not answer, trying again',
    closed: 'the session has ended: open it again with qiao monitor board',
  },
};

const CLASSES = {
  VERDICT_BALANCED: 'good',
  VERDICT_EXPLAINED: 'good',
  VERDICT_IN_FLIGHT: 'quiet',
  VERDICT_OPEN: 'notice',
  VERDICT_DEVIATION: 'bad',
  SERVICE_CONDITION_RUNNING: 'good',
  SERVICE_CONDITION_STOPPED: 'quiet',
  SERVICE_CONDITION_RETRYING: 'notice',
  SERVICE_CONDITION_STUCK: 'bad',
};

let language = 'zh';
let board;

const byId = (id) => document.getElementById(id);
const word = (key) => WORDS[language][key] ?? key;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function grouped(count) {
  return BigInt(count ?? 0).toLocaleString('en-US');
}

function sides(counts) {
  return ['total', 'inserts', 'updates', 'deletes'].map((side) => element('td', 'number', grouped(counts?.[side])));
}

function state(value) {
  return element('span', `state ${CLASSES[value] ?? 'quiet'}`, word(value));
}

function laneRow(lane) {
  const books = lane.books ?? {};
  const verdict = books.verdict ?? 'VERDICT_UNSPECIFIED';
  const services = [lane.capture, lane.send, lane.apply].map((value) =>
    state(value ?? 'SERVICE_CONDITION_UNSPECIFIED'),
  );
  const row = element(
    'tr',
    '',
    element('td', '', books.bridge ?? '', element('small', '', books.title ?? '')),
    element('td', '', `${books.sourceNode} → ${books.destinationNode}`),
    ...sides(books.sent),
    ...sides(books.received),
    element('td', 'number', grouped(books.inFlightRows)),
    element('td', '', state(verdict)),
    element('td', '', services[0], ' / ', services[1], ' / ', services[2], element('small', '', lane.message ?? '')),
  );
  row.dataset.bridge = books.bridge ?? '';
  row.dataset.destination = books.destinationNode ?? '';
  row.dataset.verdict = verdict;
  return row;
}

function show() {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const labelled of document.querySelectorAll('[data-zh]')) labelled.textContent = labelled.dataset[language];
  byId('language').textContent = language === 'zh' ? 'EN' : '中文';
  if (board === undefined) return;
  const verdict = board.verdict ?? 'VERDICT_UNSPECIFIED';
  byId('verdict').className = `verdict ${CLASSES[verdict] ?? 'quiet'}`;
  byId('verdict').textContent = word(verdict);
  byId('at').textContent = new Intl.DateTimeFormat('sv-SE', {
    dateStyle: 'short',
    timeStyle: 'medium',
    timeZone: board.timeZone,
  }).format(Number(board.atMs));
  byId('lanes').tBodies[0].replaceChildren(...(board.lanes ?? []).map(laneRow));
  const alerts = (board.alerts ?? []).map(({ code, subject, message, hint }) =>
    element(
      'li',
      '',
      element('span', 'state bad', code),
      ` ${subject}: ${message}`,
      element('small', 'quiet', hint ? ` → ${hint}` : ''),
    ),
  );
  byId('alerts').replaceChildren(...(alerts.length > 0 ? alerts : [element('li', 'quiet', word('none'))]));
  const nodes = (board.nodes ?? []).map((node) =>
    element(
      'li',
      '',
      element('span', `state ${node.silent ? 'bad' : 'good'}`, word(node.silent ? 'silent' : 'alive')),
      ` ${node.code} ${node.departmentTitle ?? ''}`,
    ),
  );
  byId('nodes').replaceChildren(...nodes);
}

function showProblem(text) {
  byId('problem').hidden = text === '';
  byId('problem').textContent = text;
}

async function refresh() {
  try {
    const response = await fetch('/api/qiao.v1.MonitorService/GetBoard', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    if (response.status === 401 || response.status === 403) {
      showProblem(word('closed'));
    } else if (response.ok) {
      board = await response.json();
      showProblem('');
      show();
    } else {
      showProblem(word('gone'));
    }
  } catch {
    showProblem(word('gone'));
  }
  setTimeout(() => void refresh(), REFRESH_MS);
}

byId('language').addEventListener('click', () => {
  language = language === 'zh' ? 'en' : 'zh';
  show();
});
show();
await refresh();

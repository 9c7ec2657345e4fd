// What a program of the Node client does, one step after another; what each saw goes out as one line of JSON.
// Called with a kubeconfig and a port on which the pod echoes. A step that fails or takes too long tells its error.
import { Readable, Writable } from 'node:stream';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, port] = process.argv.slice(2);
const PATIENCE = 60_000;
const namespace = 'default';
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

const configMap = (name, data) => ({ metadata: { name, labels: { of: 'node' } }, data });
const as = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);

/** A stream that keeps what it is given, and promises for what is to come. */
class Heard extends Writable {
  constructor() {
    super();
    this.pieces = [];
  }
  _write(piece, _encoding, done) {
    this.pieces.push(Buffer.from(piece));
    this.emit('heard');
    done();
  }
  get bytes() {
    return Buffer.concat(this.pieces);
  }
  async until(enough) {
    while (!enough(this.bytes)) await once(this, 'heard');
    return this.bytes;
  }
}

function deployment(image) {
  const container = { name: 'c', image, ports: [{ containerPort: 80 }] };
  const template = { metadata: { labels: { app: 'node' } }, spec: { containers: [container] } };
  const spec = { replicas: 1, selector: { matchLabels: { app: 'node' } }, template };
  return { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'node', namespace }, spec };
}

async function refusal(asked) {
  try {
    await asked;
  } catch (error) {
    return error.code;
  }
  return null;
}

async function comeAndGo() {
  const made = await core.createNamespacedConfigMap({ namespace, body: configMap('a', { k: 'v' }) });
  const replaced = { ...made, data: { k: 'w' } };
  const written = await core.replaceNamespacedConfigMap({ namespace, name: 'a', body: replaced });
  const stale = await refusal(core.replaceNamespacedConfigMap({ namespace, name: 'a', body: replaced }));
  const page = await core.listNamespacedConfigMap({ namespace, labelSelector: 'of=node', limit: 1 });
  await core.deleteNamespacedConfigMap({ namespace, name: 'a' });
  const gone = await refusal(core.readNamespacedConfigMap({ namespace, name: 'a' }));
  return { uid: Boolean(made.metadata.uid), data: written.data, listed: page.items.map((i) => i.metadata.name), stale, gone };
}

async function informer() {
  const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'of=node' });
  const following = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'of=node');
  const told = new Heard();
  const tell = (verb) => (object) => told.write(`${verb} ${object.metadata.name} ${object.data.k}\n`);
  for (const verb of ['add', 'update', 'delete']) following.on(verb, tell(verb));
  await core.createNamespacedConfigMap({ namespace, body: configMap('before', { k: '0' }) });
  await following.start();
  await core.createNamespacedConfigMap({ namespace, body: configMap('seen', { k: '1' }) });
  const patch = { name: 'seen', namespace, body: { data: { k: '2' } } };
  await core.patchNamespacedConfigMap(patch, as(k8s.PatchStrategy.MergePatch));
  await core.deleteNamespacedConfigMap({ namespace, name: 'seen' });
  const heard = await told.until((bytes) => bytes.includes('delete'));
  const cached = following.list(namespace).map((object) => object.metadata.name);
  await following.stop();
  return { told: heard.toString().trim().split('\n'), cached };
}

async function patches() {
  await apps.createNamespacedDeployment({ namespace, body: deployment('nginx:1') });
  const patch = (body, strategy, more = {}) =>
    apps.patchNamespacedDeployment({ name: 'node', namespace, body, ...more }, as(strategy));
  const { JsonPatch, MergePatch, StrategicMergePatch, ServerSideApply } = k8s.PatchStrategy;
  const json = await patch([{ op: 'replace', path: '/spec/replicas', value: 3 }], JsonPatch);
  const merge = await patch({ spec: { paused: true } }, MergePatch);
  const image = { spec: { template: { spec: { containers: [{ name: 'c', image: 'nginx:2' }] } } } };
  const strategic = await patch(image, StrategicMergePatch);
  const conflict = await refusal(patch(deployment('nginx:3'), ServerSideApply, { fieldManager: 'other' }));
  const applied = await patch(deployment('nginx:3'), ServerSideApply, { fieldManager: 'other', force: true });
  const [container] = strategic.spec.template.spec.containers;
  return {
    json: json.spec.replicas,
    merge: merge.spec.paused,
    strategic: [container.image, container.ports[0].containerPort],
    conflict,
    applied: applied.spec.template.spec.containers[0].image,
    owner: applied.metadata.managedFields.find((entry) => entry.manager === 'other').operation,
  };
}

async function objects() {
  const any = k8s.KubernetesObjectApi.makeApiClient(config);
  const lamp = { apiVersion: 'example.com/v1', kind: 'Lamp', metadata: { name: 'desk', namespace }, spec: { color: 'red' } };
  await any.create(lamp);
  const merged = await any.patch({ ...lamp, spec: { color: 'green' } }, undefined, undefined, 'node', undefined,
    k8s.PatchStrategy.MergePatch);
  const listed = await any.list('example.com/v1', 'Lamp', namespace);
  await any.delete(lamp);
  return { color: merged.spec.color, listed: listed.items.map((item) => item.metadata.name) };
}

async function exec() {
  const [stdout, stderr] = [new Heard(), new Heard()];
  const stdin = Readable.from(['hello\n']);
  const command = ['sh', '-c', 'read word; echo "$word $((6 * 7))"; echo wrong >&2; exit 3'];
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, 'p', 'c', command, stdout, stderr, stdin, false, resolve).catch(reject);
  });
  const cause = status.details.causes.find((found) => found.reason === 'ExitCode');
  return { stdout: stdout.bytes.toString(), stderr: stderr.bytes.toString(), exitCode: cause.message };
}

async function logs() {
  const heard = new Heard();
  const left = await new k8s.Log(config).log(namespace, 'p', 'c', heard, { follow: true });
  const line = await heard.until((bytes) => bytes.includes('\n'));
  left.abort();
  return { line: line.toString(), whole: await core.readNamespacedPodLog({ name: 'p', namespace, tailLines: 1 }) };
}

async function portForward() {
  const forward = new k8s.PortForward(config);
  const server = createServer((socket) => {
    socket.on('error', () => {});
    forward.portForward(namespace, 'p', [Number(port)], socket, null, socket).catch((error) => socket.destroy(error));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const content = Buffer.alloc(100_000, 'ping ');
  const client = connect(server.address().port, '127.0.0.1');
  client.write(content);
  const heard = new Heard();
  client.pipe(heard);
  const back = await heard.until((bytes) => bytes.length >= content.length);
  client.destroy();
  server.close();
  return { same: back.equals(content) };
}

async function step(doing) {
  let clock;
  const late = new Promise((_resolve, reject) => {
    clock = setTimeout(() => reject(new Error('took too long')), PATIENCE);
  });
  try {
    return await Promise.race([doing(), late]);
  } catch (error) {
    return { error: String(error.stack ?? error) };
  } finally {
    clearTimeout(clock);
  }
}

for (const doing of [comeAndGo, informer, patches, objects, exec, logs, portForward]) {
  console.log(JSON.stringify({ step: doing.name, saw: await step(doing) }));
}
process.exit(0);

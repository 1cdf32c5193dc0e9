// Each thing that a client can ask, as a value: what is sent, how the answer is read, when it may be sent again.
import { BrokenOff } from './errors.js';
import { Lines, ServerEvents } from './lines.js';
import * as results from './results.js';
/** For answers that have nothing to tell. */
export const nothing = () => undefined;
export function chat(model, messages, said, stream) {
    const given = typeof messages === 'string' ? [{ role: 'user', content: messages }] : messages;
    return { model, messages: given.map(withImages), ...said, stream };
}
export function generate(model, prompt, said, stream) {
    return { model, prompt, ...withImages(said), stream };
}
export function answering(path, body) {
    return { method: 'POST', path, read: wholeOf, body, repeat: 'always' };
}
export function answeringStream(path, body) {
    return { ...answering(path, body), read: results.answerOf, pieces: () => new Lines(), isLast: (piece) => piece.done };
}
export function embed(model, texts, said) {
    return { method: 'POST', path: '/api/embed', read: results.embeddingsOf, body: { model, input: texts, ...said }, repeat: 'always' };
}
export function rerank(model, query, documents, said) {
    const body = { model, query, documents, ...said };
    return { method: 'POST', path: '/v1/rerank', read: results.rankingOf, body, repeat: 'always' };
}
export function task(name, said) {
    const body = said.image === undefined ? said : { ...said, image: base64Of(said.image) };
    return { method: 'POST', path: `/api/tasks/${encodeURIComponent(name)}`, read: results.taskResultOf, body, repeat: 'always' };
}
/** Not repeated at will, for each answer is kept. */
export function respond(model, input, said) {
    return { method: 'POST', path: '/v1/responses', read: results.responseOf, body: { model, input, ...said }, repeat: 'refused' };
}
export function respondStream(model, input, said) {
    return {
        ...respond(model, input, { ...said, stream: true }),
        read: results.eventOf,
        pieces: () => new ServerEvents(),
        isLast: (event) => event.response !== undefined,
    };
}
export function list() {
    return { method: 'GET', path: '/api/tags', read: (reply) => results.rowsOf(reply).map(results.modelOf), repeat: 'always' };
}
export function ps() {
    return { method: 'GET', path: '/api/ps', read: (reply) => results.rowsOf(reply).map(results.runningOf), repeat: 'always' };
}
export function show(model, said) {
    return { method: 'POST', path: '/api/show', read: results.descriptionOf, body: { model, ...said }, repeat: 'always' };
}
export function progress(path, model, said) {
    return {
        method: 'POST',
        path,
        read: results.progressOf,
        body: { model, ...said, stream: true },
        repeat: 'always',
        pieces: () => new Lines(),
        isLast: (step) => step.status === 'success',
    };
}
export function copy(source, destination) {
    return { method: 'POST', path: '/api/copy', read: nothing, body: { source, destination }, repeat: 'always' };
}
/** A second time it would not be found. */
export function remove(model) {
    return { method: 'DELETE', path: '/api/delete', read: nothing, body: { model }, repeat: 'refused' };
}
/** A prompt that is empty. */
export function load(model, said) {
    return { method: 'POST', path: '/api/generate', read: nothing, body: { model, stream: false, ...said }, repeat: 'always' };
}
export function hasBlob(digest) {
    return { method: 'HEAD', path: `/api/blobs/${encodeURIComponent(digest)}`, read: nothing, repeat: 'always' };
}
/** Its bytes are not part of the call. */
export function takeBlob(digest) {
    return { method: 'POST', path: `/api/blobs/${digest}`, read: nothing, repeat: 'always' };
}
/** What it says now is what was asked, so it is asked once. */
export function ready() {
    return { method: 'GET', path: '/readyz', read: nothing, repeat: 'never' };
}
export function version() {
    return { method: 'GET', path: '/api/version', read: results.versionOf, repeat: 'always' };
}
function wholeOf(reply) {
    const answer = results.answerOf(reply);
    if (!answer.done)
        throw new BrokenOff("the server's answer broke off before its end");
    return answer;
}
function withImages(said) {
    if (said.images === undefined)
        return said;
    return { ...said, images: said.images.map(base64Of) };
}
function base64Of(image) {
    return typeof image === 'string' ? image : Buffer.from(image).toString('base64');
}

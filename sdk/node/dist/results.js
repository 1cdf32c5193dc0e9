// What calls give back: the names of the Python client, with durations in seconds (`_s`) and sizes in bytes (`_bytes`).
import { Fields } from './fields.js';
export function answerOf(reply) {
    reply.needs('done');
    const message = reply.inner('message');
    const said = Object.keys(message.raw).length ? message : reply;
    const text = message.text('content') + reply.text('response');
    const thinking = said.text('thinking');
    const tool_calls = said.inners('tool_calls').map((call) => {
        const called = call.inner('function');
        return { name: called.text('name'), arguments: called.inner('arguments').raw, id: call.text('id') };
    });
    return {
        model: reply.text('model'),
        text,
        thinking,
        tool_calls,
        logprobs: reply.inners('logprobs').map(logprobOf),
        done: reply.flag('done'),
        done_reason: reply.text('done_reason'),
        usage: usageOf(reply),
        context: reply.numbers('context'),
        message: {
            role: 'assistant',
            content: text,
            ...(thinking ? { thinking } : {}),
            ...(tool_calls.length ? { tool_calls: tool_calls.map(({ id, ...called }) => ({ id, function: called })) } : {}),
        },
        raw: reply.raw,
    };
}
function logprobOf(entry) {
    return { token: entry.text('token'), logprob: entry.number('logprob'), top: entry.inners('top_logprobs').map(logprobOf) };
}
function usageOf(reply) {
    const seconds = (name) => reply.number(name) / 1e9;
    return {
        prompt_tokens: reply.number('prompt_eval_count'),
        completion_tokens: reply.number('eval_count'),
        total_s: seconds('total_duration'),
        load_s: seconds('load_duration'),
        prompt_s: seconds('prompt_eval_duration'),
        decode_s: seconds('eval_duration'),
    };
}
export function embeddingsOf(reply) {
    reply.needs('embeddings');
    return { model: reply.text('model'), vectors: reply.vectors('embeddings'), usage: usageOf(reply) };
}
export function rankingOf(reply) {
    reply.needs('results');
    const results = reply.inners('results').map((each) => ({ index: each.number('index'), score: each.number('relevance_score') }));
    return { model: reply.text('model'), results, prompt_tokens: reply.inner('usage').number('prompt_tokens') };
}
export function taskResultOf(reply) {
    return { fields: reply.raw, usage: usageOf(reply) };
}
export function responseOf(reply) {
    reply.needs('id', 'status');
    const output = reply.inners('output');
    const usage = reply.inner('usage');
    const parts = output.filter((item) => item.text('type') === 'message').flatMap((item) => item.inners('content'));
    const called = output.filter((item) => item.text('type') === 'function_call' && item.text('status') === 'completed');
    return {
        id: reply.text('id'),
        model: reply.text('model'),
        status: reply.text('status'),
        text: parts.map((part) => part.text('text')).join(''),
        tool_calls: called.map((item) => ({
            name: item.text('name'),
            arguments: Fields.parse(item.text('arguments') || '{}').raw,
            id: item.text('call_id'),
        })),
        prompt_tokens: usage.number('input_tokens'),
        completion_tokens: usage.number('output_tokens'),
        raw: reply.raw,
    };
}
export function eventOf(event) {
    event.needs('type');
    const type = event.text('type');
    const isLast = type === 'response.completed' || type === 'response.incomplete';
    return {
        type,
        text: type === 'response.output_text.delta' ? event.text('delta') : '',
        response: isLast ? responseOf(event.inner('response')) : undefined,
        raw: event.raw,
    };
}
export function progressOf(step) {
    step.needs('status');
    return {
        status: step.text('status'),
        digest: step.text('digest'),
        total_bytes: step.number('total'),
        completed_bytes: step.number('completed'),
    };
}
function detailsOf(details) {
    return {
        format: details.text('format'),
        family: details.text('family'),
        parameter_size: details.text('parameter_size'),
        quantization: details.text('quantization_level'),
        parent_model: details.text('parent_model'),
    };
}
export function modelOf(row) {
    row.needs('name');
    return {
        name: row.text('name'),
        digest: row.text('digest'),
        size_bytes: row.number('size'),
        modified_at: row.time('modified_at'),
        details: detailsOf(row.inner('details')),
        capabilities: row.texts('capabilities'),
        raw: row.raw,
    };
}
export function runningOf(row) {
    row.needs('name');
    return {
        name: row.text('name'),
        digest: row.text('digest'),
        size_bytes: row.number('size'),
        context_length: row.number('context_length'),
        expires_at: row.time('expires_at'),
        details: detailsOf(row.inner('details')),
        engine: row.text('engine'),
        state: row.text('state'),
        pid: row.number('pid'),
        num_slots: row.number('slots'),
        num_busy: row.number('busy'),
        num_queued: row.number('queued'),
        raw: row.raw,
    };
}
export function descriptionOf(reply) {
    reply.needs('details');
    return {
        details: detailsOf(reply.inner('details')),
        capabilities: reply.texts('capabilities'),
        parameters: reply.text('parameters'),
        template: reply.text('template'),
        system: reply.text('system'),
        license: reply.text('license'),
        modelfile: reply.text('modelfile'),
        info: reply.inner('model_info').raw,
        raw: reply.raw,
    };
}
export function versionOf(reply) {
    reply.needs('version');
    return { hutch: reply.text('hutch'), api: reply.text('version') };
}
/** The rows of a list of models. */
export function rowsOf(reply) {
    reply.needs('models');
    return reply.inners('models');
}

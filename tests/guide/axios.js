// As much of axios as the program needs.
exports.post = async (url, body) => {
  const reply = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
  if (!reply.ok) throw new Error(`Request failed with status code ${reply.status}`);
  return { data: await reply.json() };
};

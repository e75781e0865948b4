// Keeps the pictures that Python sends once, for the viewers of this page: they ask for a version, and wait for it.

const KEPT = 6;

export default function (component) {
  const { data } = component;
  const kept = (globalThis.sclLayers ||= new Map());
  kept.delete(data.version); // the newest last
  kept.set(data.version, data);
  while (kept.size > KEPT) kept.delete(kept.keys().next().value);
  globalThis.dispatchEvent(new Event("scl-layers"));
}

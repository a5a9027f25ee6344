// What the two halves of the demo tell each other over their channel. The outer half has the
// terminal's keys and the machine's loopback, the inner half has the lab.

export type ToInner =
  /** The metrics URL on the machine's loopback; the first message. */
  | { readonly kind: 'hello'; readonly metricsUrl: string; readonly terminal: boolean }
  | { readonly kind: 'key'; readonly key: string }
  /** Somebody scrapes: send the metrics of all agents. */
  | { readonly kind: 'scrape'; readonly id: number }
  /** Answer to 'fetch'. */
  | { readonly kind: 'fetched'; readonly text: string; readonly error?: string }
  | { readonly kind: 'stop' }

export type ToOuter =
  | { readonly kind: 'ready' }
  | { readonly kind: 'scraped'; readonly id: number; readonly text: string }
  /** It cannot go on, and why; the outer half says so once the terminal is itself again. */
  | { readonly kind: 'failed'; readonly sentence: string }
  /** Please fetch the metrics URL as anybody on the machine would. */
  | { readonly kind: 'fetch' }

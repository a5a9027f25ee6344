// Variables in compose files: $VAR, ${VAR}, ${VAR:-default}, ${VAR-default}, ${VAR:?error},
// ${VAR?error}, ${VAR:+other}, ${VAR+other}, and $$ for a dollar (compose-spec, interpolation).

const VARIABLE =
  /\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-?+])((?:[^{}]|\$\{[^}]*\})*))?\}|(.?))/g

/** A variable that is required and not there, or a dollar that begins nothing. */
export class InterpolationError extends Error {}

/** `text` with its variables replaced. One that is not set is empty. Throws InterpolationError. */
export function interpolate(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): string {
  return text.replace(
    VARIABLE,
    (whole, dollar, plain, braced, operator: string | undefined, word = '', other) => {
      if (dollar !== undefined) return '$'
      if (other !== undefined) {
        throw new InterpolationError(
          `Invalid interpolation format: "${whole}"; write $$ for a dollar sign`,
        )
      }
      const name: string = plain ?? braced
      const value = environment[name]
      if (operator === undefined) return value ?? ''
      const isSet = value !== undefined && (!operator.startsWith(':') || value !== '')
      switch (operator.at(-1)) {
        case '-':
          return isSet ? value : interpolate(word, environment)
        case '+':
          return isSet ? interpolate(word, environment) : ''
        default:
          if (isSet) return value
          throw new InterpolationError(`required variable ${name} is missing a value: ${word}`)
      }
    },
  )
}

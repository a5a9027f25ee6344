// A name for a service that was given none: two words, as "calm_heron".

const MANNERS = (
  'able bold brave brisk calm clear crisp deft eager early fair fond free glad keen kind ' +
  'light lively lucid merry mild neat nimble plain proud quick quiet ready sharp sound warm wise'
).split(' ')
const BIRDS = (
  'avocet bittern curlew dipper dotterel dunlin egret fulmar gannet godwit grebe heron hoopoe ' +
  'ibis jay kestrel knot lapwing linnet martin merlin osprey petrel pipit plover redwing siskin ' +
  'skua swift tern wigeon wren'
).split(' ')

/** 1,024 pairs, and four digits behind them: services without a name are many or none. */
export function randomName(random: (size: number) => Uint8Array): string {
  const [manner = 0, bird = 0, high = 0, low = 0] = random(4)
  const digits = String(high * 256 + low)
    .padStart(5, '0')
    .slice(-4)
  return `${MANNERS[manner % MANNERS.length]}_${BIRDS[bird % BIRDS.length]}${digits}`
}

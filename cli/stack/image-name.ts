// Names of images.

/** True of what no registry knows: the host's own files, and files of it. */
export function isLocalImage(image: string): boolean {
  return /^(host$|file:)/.test(image)
}

/** A reference without a tag or digest means the latest. */
export function tagged(image: string): string {
  if (image === '' || isLocalImage(image) || image.includes('@')) return image
  return image.slice(image.lastIndexOf('/') + 1).includes(':') ? image : `${image}:latest`
}

/** The package's version, as servers and clients introduce themselves. A test holds it to `package.json`. */
export const version = "0.1.0"

// What calls take beside their first words, by the API's names.
export {};

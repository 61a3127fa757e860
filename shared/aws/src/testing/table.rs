//! A fake `DynamoDB` table, with the part of the expression language that leases use (`DynamoDB`
//! developer guide, "Using expressions").

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Attributes by name, each as the API writes it, such as `{"S": "text"}`.
pub type Item = BTreeMap<String, Value>;

/// Applies an `UpdateItem` to an item; `None` when its condition is false.
pub fn update(item: &Item, input: &Value) -> Option<Item> {
    let values = &input["ExpressionAttributeValues"];
    let scope = Scope { item, values };
    let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
    if !scope.any(&mut tokens(&text("ConditionExpression")).into_iter().peekable()) {
        return None;
    }
    let mut updated = item.clone();
    let mut left = tokens(&text("UpdateExpression")).into_iter().peekable();
    let mut clause = left.next().unwrap();
    loop {
        let name = left.next().unwrap();
        if clause == "SET" {
            assert_eq!(left.next().as_deref(), Some("="));
            updated.insert(name, scope.sum(&mut left));
        } else {
            updated.remove(&name);
        }
        match left.next() {
            None => return Some(updated),
            Some(token) if token == "," => {}
            Some(token) => clause = token,
        }
    }
}

type Left = std::iter::Peekable<std::vec::IntoIter<String>>;

fn tokens(expression: &str) -> Vec<String> {
    let mut padded = expression.to_owned();
    for sign in ["(", ")", ",", "=", "+", "<>"] {
        padded = padded.replace(sign, &format!(" {sign} "));
    }
    padded.split_whitespace().map(ToOwned::to_owned).collect()
}

struct Scope<'a> {
    item: &'a Item,
    values: &'a Value,
}

impl Scope<'_> {
    fn any(&self, left: &mut Left) -> bool {
        let mut holds = self.all(left);
        while left.next_if(|token| token == "OR").is_some() {
            holds |= self.all(left);
        }
        holds
    }

    fn all(&self, left: &mut Left) -> bool {
        let mut holds = self.one(left);
        while left.next_if(|token| token == "AND").is_some() {
            holds &= self.one(left);
        }
        holds
    }

    fn one(&self, left: &mut Left) -> bool {
        let token = left.next().unwrap();
        if token == "(" {
            let holds = self.any(left);
            assert_eq!(left.next().as_deref(), Some(")"));
            return holds;
        }
        if ["attribute_exists", "attribute_not_exists"].contains(&token.as_str()) {
            let name = left.nth(1).unwrap();
            left.next();
            return (token == "attribute_exists") == self.item.contains_key(&name);
        }
        let sign = left.next().unwrap();
        let (one, other) = (self.item.get(&token), &self.values[left.next().unwrap()]);
        assert!(["=", "<>", "<"].contains(&sign.as_str()), "{sign} is not known here");
        if sign == "<" {
            return one.is_some_and(|one| number(one) < number(other));
        }
        (sign == "=") == (one == Some(other))
    }

    fn sum(&self, left: &mut Left) -> Value {
        let first = self.operand(left);
        if left.next_if(|token| token == "+").is_none() {
            return first;
        }
        json!({"N": (number(&first) + number(&self.operand(left))).to_string()})
    }

    fn operand(&self, left: &mut Left) -> Value {
        let token = left.next().unwrap();
        if token != "if_not_exists" {
            return self.values[token].clone();
        }
        let name = left.nth(1).unwrap();
        let otherwise = self.values[left.nth(1).unwrap()].clone();
        left.next();
        self.item.get(&name).cloned().unwrap_or(otherwise)
    }
}

fn number(value: &Value) -> i64 {
    value["N"].as_str().unwrap().parse().unwrap()
}
